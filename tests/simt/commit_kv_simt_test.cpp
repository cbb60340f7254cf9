// commit_kv: the kernel equals the CPU backend, byte for byte.
#include <random>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "orders.h"

using espalier::CommitKvArgs;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

struct Shape {
  int64_t num_moves, num_layers, num_slots, row_bytes;
};

std::vector<uint16_t> random_bits(int64_t bytes, std::mt19937& random) {
  std::vector<uint16_t> x(bytes / 2);
  for (uint16_t& value : x) value = static_cast<uint16_t>(random());
  return x;
}

std::vector<int32_t> random_slots(int64_t num, int64_t num_slots, std::mt19937& random) {
  std::vector<int32_t> slots(num);
  for (int32_t& slot : slots) slot = static_cast<int32_t>(random() % num_slots);
  return slots;
}

/** Random moves over few slots: later ones read what earlier ones wrote, and some stay in place. */
void check_equal(const Shape& shape, int64_t offset_bytes, std::mt19937& random) {
  static const auto cpu = espalier::make_cpu_backend(1);
  const int64_t bytes = shape.num_layers * shape.num_slots * shape.row_bytes;
  const auto from = random_slots(shape.num_moves, shape.num_slots, random);
  const auto to = random_slots(shape.num_moves, shape.num_slots, random);
  const auto k = random_bits(bytes + offset_bytes, random),
             v = random_bits(bytes + offset_bytes, random);
  auto want_k = k, want_v = v;
  cpu->commit_kv(
      CommitKvArgs{
          from.data(), to.data(), want_k.data() + offset_bytes / 2,
          want_v.data() + offset_bytes / 2, shape.num_moves, shape.num_layers, shape.num_slots,
          shape.row_bytes});
  for_each_order([&](const char* order) {
    const auto on_from = Buffer<int32_t>::input("from", from),
               on_to = Buffer<int32_t>::input("to", to);
    const Buffer<uint16_t> on_k("k_cache", k), on_v("v_cache", v);
    espalier::cuda_commit_kv(
        CommitKvArgs{
            on_from.data(), on_to.data(), on_k.data() + offset_bytes / 2,
            on_v.data() + offset_bytes / 2, shape.num_moves, shape.num_layers, shape.num_slots,
            shape.row_bytes},
        nullptr);
    CHECK_MSG(
        on_k.values() == want_k && on_v.values() == want_v,
        "%s: num_moves %ld, num_layers %ld, num_slots %ld, row_bytes %ld, offset %ld: differs from "
        "the CPU",
        order, static_cast<long>(shape.num_moves), static_cast<long>(shape.num_layers),
        static_cast<long>(shape.num_slots), static_cast<long>(shape.row_bytes),
        static_cast<long>(offset_bytes));
  });
}

}  // namespace

TEST(equals_the_cpu_whatever_the_moves) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int64_t num_moves : {0, 1, 2, 7, 8, 9, 17, 40})
    check_equal({num_moves, 3, 6, 64}, 0, random);
}

TEST(equals_the_cpu_for_every_width_of_rows) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int64_t row_bytes : {2, 4, 16, 18, 20, 250, 256, 2032, 2048, 2064, 4096}) {
    check_equal({5, 2, 9, row_bytes}, 0, random);
  }
  for (const int64_t offset_bytes : {2, 4, 8, 16}) check_equal({5, 2, 9, 64}, offset_bytes, random);
}

TEST(offsets_beyond_2_to_31_elements) {
  constexpr int64_t kLayers = 3;
  constexpr int64_t kRowBytes = 1026,
                    kSlots = (int64_t{3} << 30) / kRowBytes;  // an element is 2 bytes here
  for_each_order([&](const char* order) {
    const auto k = Buffer<uint16_t>::sparse("k_cache", kLayers * kSlots * kRowBytes / 2);
    const auto v = Buffer<uint16_t>::sparse("v_cache", kLayers * kSlots * kRowBytes / 2);
    const auto last_row = [&](const Buffer<uint16_t>& cache, int64_t layer) {
      return cache.data() + ((layer + 1) * kSlots - 1) * kRowBytes / 2;
    };
    const auto first_row = [&](const Buffer<uint16_t>& cache, int64_t layer) {
      return cache.data() + layer * kSlots * kRowBytes / 2;
    };
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      for (int i = 0; i < kRowBytes / 2; ++i) {
        last_row(k, layer)[i] = static_cast<uint16_t>(1000 + 10 * layer + i);
        first_row(v, layer)[i] = static_cast<uint16_t>(2000 + 10 * layer + i);
      }
    }
    const auto from = Buffer<int32_t>::input("from", {kSlots - 1}),
               to = Buffer<int32_t>::input("to", {0});
    espalier::cuda_commit_kv(
        CommitKvArgs{from.data(), to.data(), k.data(), v.data(), 1, kLayers, kSlots, kRowBytes},
        nullptr);
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      for (int i = 0; i < kRowBytes / 2; ++i) {
        CHECK_MSG(
            first_row(k, layer)[i] == 1000 + 10 * layer + i && first_row(v, layer)[i] == 0,
            "%s: layer %ld, word %d", order, static_cast<long>(layer), i);
      }
    }
  });
}
