// top_k: the kernels equal the CPU backend, indices and bits of values.
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "orders.h"

using namespace espalier;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Result {
  std::vector<int32_t> idx;
  std::vector<uint32_t> value;
  bool operator==(const Result&) const = default;
};

Result result_of(const int32_t* idx, const float* value, int64_t len) {
  Result result{std::vector<int32_t>(idx, idx + len), std::vector<uint32_t>(len)};
  std::memcpy(result.value.data(), value, len * sizeof(float));
  return result;
}

Result on_cpu(const std::vector<float>& x, int32_t vocab, int32_t k) {
  static const auto cpu = make_cpu_backend(1);
  const auto rows = static_cast<int64_t>(x.size()) / vocab;
  std::vector<int32_t> idx(rows * k);
  std::vector<float> value(rows * k);
  cpu->top_k({x.data(), idx.data(), value.data(), rows, vocab, k});
  return result_of(idx.data(), value.data(), rows * k);
}

/** x begins `offset` elements behind an aligned address. */
Result emulated(std::vector<float> x, int32_t vocab, int32_t k, int offset = 0) {
  const auto rows = static_cast<int64_t>(x.size()) / vocab;
  x.insert(x.begin(), offset, 0.0f);
  const auto on_x = Buffer<float>::input("x", x);
  const auto idx = Buffer<int32_t>::output("idx", rows * k);
  const auto value = Buffer<float>::output("value", rows * k);
  const TopKArgs args{on_x.data() + offset, idx.data(), value.data(), rows, vocab, k};
  const auto workspace = Buffer<uint64_t>::output("workspace", top_k_workspace_bytes(args) / 8);
  cuda_top_k(args, workspace.data(), nullptr);
  return result_of(idx.data(), value.data(), rows * k);
}

std::vector<float> normals(int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

void check_equal(const std::vector<float>& x, int32_t vocab, int32_t k, const char* what) {
  const Result want = on_cpu(x, vocab, k);
  for_each_order([&](const char* order) {
    CHECK_MSG(
        emulated(x, vocab, k) == want, "%s, %s: vocab %d, k %d: differs from the CPU", what, order,
        vocab, k);
  });
}

}  // namespace

TEST(equals_the_cpu_for_every_vocabulary_and_k) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t vocab : {1, 2, 31, 33, 100, 1024, 2048, 4095, 4096, 4097, 8200, 12289}) {
    for (const int32_t k : {1, 2, 8, 31, 32, 33, 63, 64}) {
      if (k > vocab) continue;
      check_equal(normals(2 * vocab, random), vocab, k, "normals");
    }
  }
}

TEST(equals_the_cpu_for_large_vocabularies) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t vocab : {50257, 128256, 262144}) {
    const auto x = normals(vocab, random);
    for (const int32_t k : {1, 64}) {
      CHECK_MSG(emulated(x, vocab, k) == on_cpu(x, vocab, k), "vocab %d, k %d", vocab, k);
    }
  }
}

TEST(equals_the_cpu_for_ties_nan_and_infinities) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  const float values[] = {0.0f, -0.0f, 1.0f, kInf, -kInf, kNan, -kNan, 1e-45f, -1e-45f};
  for (const int32_t vocab : {33, 300, 5000}) {
    for (int kinds = 1; kinds <= 9; ++kinds) {
      std::vector<float> x(2 * vocab);
      const int shift = static_cast<int>(random() % 9);
      for (float& value : x) value = values[(random() % kinds + shift) % 9];
      for (const int32_t k : {1, 20, 33}) check_equal(x, vocab, k, "few values");
    }
  }
}

TEST(equals_the_cpu_when_the_best_lie_together_or_rise) {
  for (const int32_t vocab : {1000, 5001}) {
    std::vector<float> rising(vocab), falling(vocab), last(vocab, -1.0f);
    for (int32_t i = 0; i < vocab; ++i) {
      rising[i] = static_cast<float>(i);
      falling[i] = static_cast<float>(-i);
      if (i + 64 >= vocab) last[i] = static_cast<float>(i % 7);
    }
    for (const int32_t k : {1, 32, 64}) {
      check_equal(rising, vocab, k, "rising");
      check_equal(falling, vocab, k, "falling");
      check_equal(last, vocab, k, "best at the end");
    }
  }
}

TEST(a_row_alone_and_among_others_and_at_any_address_is_the_same) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  constexpr int32_t kVocab = 4100, kRows = 33, kBest = 10;
  const auto x = normals(kRows * kVocab, random);
  const Result all = emulated(x, kVocab, kBest);
  for (const int rows : {1, 2, 7, 16}) {
    const int first = static_cast<int>(random() % (kRows - rows));
    const std::vector<float> part(x.begin() + first * kVocab, x.begin() + (first + rows) * kVocab);
    const Result got = emulated(part, kVocab, kBest, rows % 4);
    CHECK_MSG(
        std::equal(got.idx.begin(), got.idx.end(), all.idx.begin() + first * kBest) &&
            std::equal(got.value.begin(), got.value.end(), all.value.begin() + first * kBest),
        "%d rows from row %d", rows, first);
  }
}

TEST(values_may_be_left_out) {
  const auto x = Buffer<float>::input("x", {1, 3, 2});
  const auto idx = Buffer<int32_t>::output("idx", 2);
  const TopKArgs args{x.data(), idx.data(), nullptr, 1, 3, 2};
  const auto workspace = Buffer<uint64_t>::output("workspace", top_k_workspace_bytes(args) / 8);
  cuda_top_k(args, workspace.data(), nullptr);
  CHECK(idx.values() == (std::vector<int32_t>{1, 2}));
}

TEST(offsets_beyond_2_to_31_elements) {
  // The last of rows that are together more than 2^31 entries; groups of 4 entries, and single ones.
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  constexpr int32_t kBest = 3;
  for (const int32_t vocab : {4096, 4095}) {
    const int64_t rows = (int64_t{1} << 31) / vocab + 3, at = (rows - 1) * vocab;
    const auto row = normals(vocab, random);
    const auto x = Buffer<float>::sparse("x", rows * vocab);
    std::copy(row.begin(), row.end(), x.data() + at);
    const auto idx = Buffer<int32_t>::sparse("idx", rows * kBest);
    const auto value = Buffer<float>::sparse("value", rows * kBest);
    const TopKArgs args{x.data(), idx.data(), value.data(), rows, vocab, kBest};
    const auto workspace = Buffer<uint64_t>::sparse("workspace", top_k_workspace_bytes(args) / 8);
    simt::emulated::set_last_blocks(1);
    cuda_top_k(args, workspace.data(), nullptr);
    simt::emulated::set_last_blocks(0);
    const int64_t last = (rows - 1) * kBest;
    CHECK_MSG(
        result_of(idx.data() + last, value.data() + last, kBest) == on_cpu(row, vocab, kBest),
        "vocab %d", vocab);
  }
}
