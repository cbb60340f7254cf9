// embed: the kernel equals the CPU backend, bit for bit.
#include <cstring>
#include <random>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "gemm/layout.h"
#include "launchers.h"
#include "orders.h"

using namespace espalier;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

/** A table of random bits, NaN and infinities among them; it begins `offset` elements behind an aligned address, or is packed. */
template <class Word>
void check_equal(
    Type type, int64_t hidden, int64_t offset, std::mt19937& random, bool packed = false) {
  static const auto cpu = make_cpu_backend(1);
  constexpr int64_t kVocab = 7;
  std::vector<Word> table(kVocab * hidden + offset);
  for (Word& word : table) word = static_cast<Word>(random());
  for (const int rows : {1, 2, 9}) {
    std::vector<int32_t> token(rows);
    for (int32_t& t : token) t = static_cast<int32_t>(random() % kVocab);
    token[0] = kVocab - 1;
    std::vector<float> want(rows * hidden);
    cpu->embed({{table.data() + offset, type, kVocab, hidden}, token.data(), want.data(), rows});
    std::vector<Word> laid_out = table;
    if (packed) {
      laid_out.resize(packed_bytes(kVocab, hidden) / sizeof(Word));
      pack(table.data(), kVocab, hidden, laid_out.data());
    }
    for_each_order([&](const char* order) {
      const auto on_table = Buffer<Word>::input("table", laid_out);
      const auto on_token = Buffer<int32_t>::input("token", token);
      const auto out = Buffer<float>::output("out", rows * hidden + offset);
      cuda_embed(
          {{on_table.data() + offset, type, kVocab, hidden, packed},
           on_token.data(),
           out.data() + offset,
           rows},
          nullptr);
      // A NaN may come out as another one.
      bool same = true;
      for (size_t i = 0; i < want.size(); ++i) {
        const float got = out.data()[offset + i];
        same &= want[i] != want[i] ? got != got : std::memcmp(&got, &want[i], sizeof got) == 0;
      }
      CHECK_MSG(
          same, "%s: type %d, hidden %ld, offset %ld, rows %d", order, static_cast<int>(type),
          static_cast<long>(hidden), static_cast<long>(offset), rows);
    });
  }
}

}  // namespace

TEST(equals_the_cpu_for_every_type_and_width) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int64_t hidden : {1, 3, 4, 31, 32, 33, 124, 128, 132, 1000, 1024, 1028, 1030}) {
    for (const int64_t offset : {0, 1, 2}) {
      check_equal<uint32_t>(Type::kFp32, hidden, offset, random);
      check_equal<uint16_t>(Type::kBf16, hidden, offset, random);
      check_equal<uint16_t>(Type::kFp16, hidden, offset, random);
    }
    check_equal<uint16_t>(Type::kBf16, hidden, 0, random, true);
    check_equal<uint16_t>(Type::kFp16, hidden, 0, random, true);
  }
}

TEST(offsets_beyond_2_to_31_elements) {
  constexpr int64_t kHidden = 4096, kToken = (int64_t{3} << 30) / kHidden;
  const auto table = Buffer<uint16_t>::sparse("table", (kToken + 1) * kHidden);
  for (int i = 0; i < kHidden; ++i) {
    table.data()[kToken * kHidden + i] = static_cast<uint16_t>(0x3f80 + i % 64);
  }
  const auto token = Buffer<int32_t>::input("token", {static_cast<int32_t>(kToken)});
  const auto out = Buffer<float>::output("out", kHidden);
  cuda_embed(
      {{table.data(), Type::kBf16, kToken + 1, kHidden}, token.data(), out.data(), 1}, nullptr);
  for (int i = 0; i < kHidden; ++i) {
    CHECK_EQ(out.data()[i], 1.0f + static_cast<float>(i % 64) / 128);
  }
}

TEST(no_rows_no_launch) {
  const auto before = simt::emulated::counts().threads;
  cuda_embed({{nullptr, Type::kBf16, 3, 8}, nullptr, nullptr, 0}, nullptr);
  CHECK_EQ(simt::emulated::counts().threads, before);
}
