// As many multiply-adds as the path can do: registers alone. Included inside a namespace by
// each_path.h.

/** Products of `rounds` times kMultiplyAdds; a number that depends on all of them. */
float multiply_adds(int64_t rounds) {
  constexpr int kSums = 12;  // in flight at a time, and in the registers of every path
  static_assert(kMultiplyAdds % (kSums * kLanes) == 0);
  Vec acc[kSums] = {};
  const Vec a = broadcast(1.0f + static_cast<float>(rounds)), b = broadcast(1e-6f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int repeat = 0; repeat < kMultiplyAdds / (kSums * kLanes); ++repeat) {
#pragma GCC unroll 16
      for (int j = 0; j < kSums; ++j) accumulate(a, b, acc[j]);
    }
  }
  float total = 0;
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) total += sum(acc[j]);
  return total;
}
