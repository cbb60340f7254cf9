// Products of a warpgroup. Each thread computes its own sums when it waits for them; until then the operands must stay.
#include <algorithm>
#include <cstring>

#include "machine.h"

namespace simt::emulated {
namespace {

constexpr int kChunkRows = 8, kChunkBytes = 128, kRowBytes = 16;

/** A row of an operand: 16 elements of two chunks. */
void read_row(
    Thread& thread, const Product& product, const Operand& from, int row, float (&x)[16]) {
  for (int chunk = 0; chunk < 2; ++chunk) {
    const char* p = static_cast<const char*>(from.first) +
                    row / kChunkRows * from.bytes_along_rows + chunk * from.bytes_along_k +
                    row % kChunkRows * kRowBytes;
    check_access(thread, p, kRowBytes, Access::kRead, product.place);
    uint16_t bits[8];
    std::memcpy(bits, p, sizeof bits);
    for (int i = 0; i < 8; ++i) x[chunk * 8 + i] = value_of(bits[i], product.bf16);
  }
}

void finish(Thread& thread, const Product& product) {
  float a[2][16], b[16];
  const int row = thread.warp() % 4 * 16 + thread.lane() / 4;
  for (int half = 0; half < 2; ++half)
    read_row(thread, product, product.a, row + 8 * half, a[half]);
  for (int i = 0; i < product.columns / 4; ++i) {
    read_row(thread, product, product.b, i / 2 * 8 + thread.lane() % 4 * 2 + i % 2, b);
    for (int half = 0; half < 2; ++half) {
      float& c = product.c[i / 2 * 4 + half * 2 + i % 2];
      for (int k = 0; k < 16; ++k) c += a[half][k] * b[k];
    }
  }
}

bool same(const Operand& a, const Operand& b) {
  return a.first == b.first && a.bytes_along_k == b.bytes_along_k &&
         a.bytes_along_rows == b.bytes_along_rows;
}

/** All threads of a warpgroup call the same products in the same order. */
void check_agreement(Thread& thread, const Product& product) {
  auto& all = thread.block->products[thread.index / kWarpgroup];
  const size_t number = thread.num_products++;
  if (number == all.size()) {
    all.push_back(product);
  } else if (
      !same(all[number].a, product.a) || !same(all[number].b, product.b) ||
      all[number].columns != product.columns || all[number].bf16 != product.bf16) {
    report(
        Defect::kDivergence, product.place,
        "product %zu of the warpgroup has other operands than its other threads gave", number);
  }
}

void check_operand(const Operand& operand, Place place) {
  check_alignment(operand.first, kRowBytes, place);
  if (!is_shared(region_of(operand.first)))
    report(Defect::kBadArgument, place, "product of memory that is not shared");
  for (const int bytes : {operand.bytes_along_k, operand.bytes_along_rows}) {
    if (bytes < kChunkBytes || bytes % kRowBytes != 0 || bytes >= 1 << 18) {
      report(
          Defect::kBadArgument, place,
          "bytes from one chunk to the next = %d, expected a multiple of 16 from %d on", bytes,
          kChunkBytes);
    }
  }
}

}  // namespace

void begin_products() { current_thread("begin_products").products_begun = true; }

void product(float* c, int columns, const Operand& a, const Operand& b, bool bf16) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("product");
  if (static_cast<int>(thread.block->threads.size()) < (thread.index / kWarpgroup + 1) * kWarpgroup)
    report(
        Defect::kDivergence, place, "product in a warpgroup of less than %d threads", kWarpgroup);
  if (!thread.products_begun)
    report(Defect::kDivergence, place, "product without begin_products since the last wait");
  check_operand(a, place);
  check_operand(b, place);
  const Product product{c, columns, a, b, bf16, place, thread.product_group};
  check_agreement(thread, product);
  thread.products.push_back(product);
}

void commit_products() { ++current_thread("commit_products").product_group; }

void wait_products(int pending_groups) {
  Thread& thread = current_thread("wait_products");
  const int limit = thread.product_group - pending_groups;
  auto left = thread.products.begin();
  for (; left != thread.products.end() && left->group < limit; ++left) finish(thread, *left);
  thread.products.erase(thread.products.begin(), left);
  thread.products_begun = false;
}

}  // namespace simt::emulated
