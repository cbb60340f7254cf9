#include "runtime/kv_cache.h"

namespace espalier {
namespace {

constexpr size_t kMostMoves = 65536;  // for which there is memory from the start

}  // namespace

KvCache::KvCache(
    std::shared_ptr<Device> device, int32_t num_layers, int64_t num_pages, int32_t page_size,
    int64_t row_elements, Type type)
    : device_(std::move(device)),
      num_layers_(num_layers),
      page_size_(page_size),
      num_pages_(num_pages),
      row_bytes_(row_elements * type_bytes(type)),
      type_(type),
      owners_(static_cast<size_t>(num_pages), 0) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(layer_bytes(), int64_t{num_layers}, &bytes)) {
    fail(
        ESPALIER_OUT_OF_MEMORY, "num_pages = %lld, expected fewer: the cache exceeds 2^63 bytes",
        static_cast<long long>(num_pages));
  }
  k_ = Memory(device_, static_cast<size_t>(bytes));
  v_ = Memory(device_, static_cast<size_t>(bytes));
  moves_.reserve(device_, kMostMoves * 2 * sizeof(int32_t));
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

int32_t KvCache::take() {
  const int32_t page = free_.back();
  free_.pop_back();
  owners_[static_cast<size_t>(page)] = 1;
  return page;
}

void KvCache::drop(int32_t page) {
  if (--owners_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

void KvCache::make_writable(std::vector<int32_t>* pages, int32_t first, int32_t last) {
  if (last <= first) return;
  const size_t begin = static_cast<size_t>(first / page_size_),
               end = static_cast<size_t>((last - 1) / page_size_) + 1;
  int64_t wanted = end > pages->size() ? static_cast<int64_t>(end - pages->size()) : 0;
  for (size_t i = begin; i < pages->size() && i < end; ++i) {
    if (owners_[static_cast<size_t>((*pages)[i])] > 1) ++wanted;
  }
  if (wanted > num_free()) {
    fail(
        ESPALIER_OUT_OF_MEMORY,
        "KV pages: %lld needed, %lld of %lld free; close sequences, or open the session with more "
        "num_pages",
        static_cast<long long>(wanted), static_cast<long long>(num_free()),
        static_cast<long long>(num_pages_));
  }
  std::vector<int32_t> from, to;
  for (size_t i = begin; i < pages->size() && i < end; ++i) {
    const int32_t old = (*pages)[i];
    if (owners_[static_cast<size_t>(old)] == 1) continue;
    const int32_t page = take();
    // Rows before `first` are still read; those from it on are written anew.
    const int32_t used = std::min<int32_t>(
        page_size_, std::max<int32_t>(0, first - static_cast<int32_t>(i) * page_size_));
    for (int32_t row = 0; row < used; ++row) {
      from.push_back(old * page_size_ + row);
      to.push_back(page * page_size_ + row);
    }
    drop(old);
    (*pages)[i] = page;
  }
  while (pages->size() < end) pages->push_back(take());
  move(from, to);
}

void KvCache::truncate(std::vector<int32_t>* pages, int32_t length) {
  const size_t kept = static_cast<size_t>((length + page_size_ - 1) / page_size_);
  while (pages->size() > kept) {
    drop(pages->back());
    pages->pop_back();
  }
}

std::vector<int32_t> KvCache::share(const std::vector<int32_t>& pages, int32_t length) {
  const size_t kept = static_cast<size_t>((length + page_size_ - 1) / page_size_);
  std::vector<int32_t> shared(pages.begin(), pages.begin() + static_cast<ptrdiff_t>(kept));
  for (int32_t page : shared) ++owners_[static_cast<size_t>(page)];
  return shared;
}

void KvCache::move(const std::vector<int32_t>& from, const std::vector<int32_t>& to) {
  const int64_t n = static_cast<int64_t>(from.size());
  if (n == 0) return;
  moves_.clear();
  const size_t at_from = moves_.put(from), at_to = moves_.put(to);
  moves_.send(device_);
  CommitKvArgs args{};
  args.from = moves_.at<int32_t>(at_from);
  args.to = moves_.at<int32_t>(at_to);
  args.k_cache = k_.as<void>();
  args.v_cache = v_.as<void>();
  args.num_moves = n;
  args.num_layers = num_layers_;
  args.num_slots = num_slots();
  args.row_bytes = row_bytes_;
  device_->backend->commit_kv(args);
}

}  // namespace espalier
