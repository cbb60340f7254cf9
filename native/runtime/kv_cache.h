// The paged KV cache of a session: which pages a sequence has, and who shares them.
#ifndef ESPALIER_RUNTIME_KV_CACHE_H
#define ESPALIER_RUNTIME_KV_CACHE_H

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/objects.h"

namespace espalier {

/**
 * Pages of page_size tokens, each with the K and V rows of all layers. A sequence's page table maps position / page_size
 * to a page; a page is shared by sequences that were forked, until one of them writes to it.
 */
class KvCache {
 public:
  KvCache(
      std::shared_ptr<Device> device, int32_t num_layers, int64_t num_pages, int32_t page_size,
      int64_t row_elements, Type type);

  /** Gives a table pages of its own for positions first to last - 1; positions before first stay readable. */
  void make_writable(std::vector<int32_t>* pages, int32_t first, int32_t last);

  /** Drops the pages behind position length - 1. */
  void truncate(std::vector<int32_t>* pages, int32_t length);

  /** A second owner of the pages of the first `length` positions. */
  std::vector<int32_t> share(const std::vector<int32_t>& pages, int32_t length);

  int32_t slot(const std::vector<int32_t>& pages, int32_t position) const {
    return pages[static_cast<size_t>(position / page_size_)] * page_size_ + position % page_size_;
  }

  /** Copies rows between slots in all layers, in order. */
  void move(const std::vector<int32_t>& from, const std::vector<int32_t>& to);

  void* k_layer(int32_t layer) const { return k_.as<char>() + layer * layer_bytes(); }
  void* v_layer(int32_t layer) const { return v_.as<char>() + layer * layer_bytes(); }
  Type type() const { return type_; }
  int32_t page_size() const { return page_size_; }
  /** Pages of a layer, the spare one among them. */
  int32_t num_layer_pages() const { return static_cast<int32_t>(num_pages_) + 1; }
  /** Slot of a page that belongs to nobody: for the i-th of the rows that only fill up a step, i < page_size. */
  int32_t spare_slot(int32_t i) const { return static_cast<int32_t>(num_pages_) * page_size_ + i; }
  /** Tokens that a sequence with all pages has. */
  int64_t num_positions() const { return num_pages_ * page_size_; }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }

 private:
  int64_t num_slots() const { return (num_pages_ + 1) * page_size_; }  // the last page is the spare
  int64_t layer_bytes() const { return num_slots() * row_bytes_; }
  int32_t take();
  void drop(int32_t page);

  std::shared_ptr<Device> device_;
  int32_t num_layers_, page_size_;
  int64_t num_pages_, row_bytes_;
  Type type_;
  Memory k_, v_;                 // [num_layers, num_pages + 1, page_size, num_kv_heads, head_dim]
  std::vector<int32_t> owners_;  // [num_pages] sequences that have the page
  std::vector<int32_t> free_;
  Parcel moves_;
};

}  // namespace espalier

#endif
