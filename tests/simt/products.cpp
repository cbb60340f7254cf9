// Products of a warpgroup. Each thread computes its own sums when it waits for them; until then the operands must stay.
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "simt/tensor_map.h"

namespace simt::emulated {
namespace {

constexpr int kChunkRows = 8, kChunkBytes = 128, kRowBytes = 16;
constexpr int kBoxRowBytes = 128, kPatternBytes = 1024;  // of what is swizzled

/** 16 bytes, or the two neighbours of a turned chunk, as the hardware reads them beside the threads. */
void read(Thread& thread, const Product& product, const char* p, size_t bytes, uint16_t* element) {
  check_access(thread, p, bytes, Access::kRead, product.place);
  check_published(thread, p, bytes, product.place);
  std::memcpy(element, p, bytes);
}

/** Where an address of a box as it were without swizzle really is. */
const char* swizzled(const char* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  return reinterpret_cast<const char*>(address ^ (address / kBoxRowBytes % kChunkRows) * kRowBytes);
}

/** Where an element lies; 8 of them are next to each other, along k or, turned, along rows. */
const char* place_of(const Operand& from, int row, int k, bool turned) {
  const auto* first = static_cast<const char*>(from.first);
  switch (from.form) {
    case Operand::kChunks:
      break;
    case Operand::kSwizzledRows:
      return swizzled(
          first + row / kChunkRows * from.bytes_along_rows + row % kChunkRows * kBoxRowBytes +
          k * 2);
    case Operand::kSwizzledColumns:
      return swizzled(
          first + k / kChunkRows * from.bytes_along_k + k % kChunkRows * kBoxRowBytes +
          row / kBoxColumns * from.bytes_along_rows + row % kBoxColumns * 2);
  }
  const int inner = turned ? row : k, outer = turned ? k : row;
  return first + row / kChunkRows * from.bytes_along_rows + k / kChunkRows * from.bytes_along_k +
         outer % kChunkRows * kRowBytes + inner % kChunkRows * 2;
}

/** A row of an operand: 16 elements of two chunks. */
void read_row(
    Thread& thread, const Product& product, const Operand& from, int row, float (&x)[16]) {
  for (int k = 0; k < 16; k += kChunkRows) {
    uint16_t bits[kChunkRows];
    read(thread, product, place_of(from, row, k, false), sizeof bits, bits);
    for (int i = 0; i < kChunkRows; ++i) x[k + i] = value_of(bits[i], product.sums.bf16);
  }
}

/** Rows row and row + 1 of b. */
void read_rows_of_b(Thread& thread, const Product& product, int row, float (&b)[2][16]) {
  if (!product.of_registers) {
    for (int i = 0; i < 2; ++i) read_row(thread, product, product.b, row + i, b[i]);
    return;
  }
  for (int k = 0; k < 16; ++k) {
    uint16_t bits[2];
    read(thread, product, place_of(product.b, row, k, true), sizeof bits, bits);
    for (int i = 0; i < 2; ++i) b[i][k] = value_of(bits[i], product.sums.bf16);
  }
}

/** The thread's two rows of a. */
void read_rows_of_a(Thread& thread, const Product& product, float (&a)[2][16]) {
  const int row = thread.warp() % 4 * 16 + thread.lane() / 4;
  for (int half = 0; half < 2; ++half) {
    if (!product.of_registers) {
      read_row(thread, product, product.a, row + 8 * half, a[half]);
      continue;
    }
    for (int k = 0; k < 16; ++k) {
      const uint32_t pair = product.quad[k % 8 / 2 * 4 + k / 8 * 2 + half];
      a[half][k] = value_of(static_cast<uint16_t>(pair >> k % 2 * 16), product.sums.bf16);
    }
  }
}

void finish(Thread& thread, const Product& product) {
  float a[2][16], b[2][16];
  read_rows_of_a(thread, product, a);
  const Sums& sums = product.sums;
  for (int i = 0; i < sums.columns / 4; i += 2) {
    read_rows_of_b(thread, product, i / 2 * 8 + thread.lane() % 4 * 2, b);
    for (int half = 0; half < 2; ++half) {
      for (int column = 0; column < 2; ++column) {
        float& c = sums.c[i / 2 * 4 + half * 2 + column];
        if (!sums.add) c = 0;
        for (int k = 0; k < 16; ++k) c += a[half][k] * b[column][k];
      }
    }
  }
}

bool same(const Operand& a, const Operand& b) {
  return a.form == b.form && a.first == b.first && a.bytes_along_k == b.bytes_along_k &&
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
      all[number].of_registers != product.of_registers ||
      all[number].sums.columns != product.sums.columns ||
      all[number].sums.add != product.sums.add || all[number].sums.bf16 != product.sums.bf16) {
    report(
        Defect::kDivergence, product.place,
        "product %zu of the warpgroup has other operands than its other threads gave", number);
  }
}

void check_operand(const Operand& operand, bool turned, Place place) {
  check_alignment(operand.first, kRowBytes, place);
  if (!is_shared(region_of(operand.first)))
    report(Defect::kBadArgument, place, "product of memory that is not shared");
  if (operand.form == (turned ? Operand::kSwizzledRows : Operand::kSwizzledColumns)) {
    report(
        Defect::kBadArgument, place, "swizzled %s, expected %s", turned ? "rows" : "columns",
        turned ? "columns, as b is turned" : "rows");
  }
  const bool swizzled = operand.form != Operand::kChunks;
  const int least = swizzled ? kPatternBytes : kChunkBytes,
            multiple = swizzled ? kPatternBytes : kRowBytes;
  for (const int bytes : {operand.bytes_along_k, operand.bytes_along_rows}) {
    if (bytes < least || bytes % multiple != 0 || bytes >= 1 << 18) {
      report(
          Defect::kBadArgument, place,
          "distance in an operand = %d bytes, expected a multiple of %d from %d on", bytes,
          multiple, least);
    }
  }
  // Elsewhere the pattern would want a base offset, or 16 elements of a row would not be next to each other.
  const auto at = static_cast<int>(reinterpret_cast<uintptr_t>(operand.first) % kPatternBytes);
  const bool first_row = at < kBoxRowBytes && at % (2 * kRowBytes) == 0;
  if (swizzled && !(turned ? at == 0 : first_row)) {
    report(
        Defect::kMisaligned, place,
        "swizzled operand %d bytes behind a multiple of %d, expected %s", at, kPatternBytes,
        turned ? "0" : "0, 32, 64 or 96");
  }
}

void start(Thread& thread, Product product) {
  if (static_cast<int>(thread.block->threads.size()) < (thread.index / kWarpgroup + 1) * kWarpgroup)
    report(
        Defect::kDivergence, product.place, "product in a warpgroup of less than %d threads",
        kWarpgroup);
  if (!thread.products_begun)
    report(
        Defect::kDivergence, product.place, "product without begin_products since the last wait");
  if (!product.of_registers) check_operand(product.a, false, product.place);
  check_operand(product.b, product.of_registers, product.place);
  product.group = thread.product_group;
  check_agreement(thread, product);
  thread.products.push_back(product);
}

}  // namespace

void check_sums(Thread& thread, const void* p, size_t bytes, bool write, Place place) {
  const auto* begin = static_cast<const char*>(p);
  for (const Product& product : thread.products) {
    const auto* sums = reinterpret_cast<const char*>(product.sums.c);
    if (begin + bytes <= sums || sums + product.sums.columns * 2 <= begin) continue;
    report(
        Defect::kUnfinishedCopy, place,
        "%s sums of the product at %s, which has not been waited for", write ? "writes" : "reads",
        line_of(product.place).c_str());
  }
}

void begin_products() { current_thread("begin_products").products_begun = true; }

void product(const Sums& sums, const Operand& a, const Operand& b) {
  start(current_thread("product"), {sums, false, a, b, SIMT_PLACE, 0, {}});
}

void product(const Sums& sums, const uint32_t* a, const Operand& b) {
  const Place place = SIMT_PLACE;
  start(current_thread("product"), {sums, true, {}, b, place, 0, registers_of_quad(a, place)});
}

void commit_products() { ++current_thread("commit_products").product_group; }

void wait_products(int pending_groups) {
  Thread& thread = current_thread("wait_products");
  const int limit = thread.product_group - pending_groups;
  while (!thread.products.empty() && thread.products.front().group < limit) {
    const Product product = thread.products.front();
    thread.products.erase(thread.products.begin());
    finish(thread, product);
  }
  thread.products_begun = false;
}

}  // namespace simt::emulated
