// cuBLAS is found where it lies, and asked for the product of the benchmark.
#include "cublas.h"

#include <cstring>

#include "check.h"

using espalier_bench::CuBlas;

namespace {

void* const kStream = reinterpret_cast<void*>(7);  // the one that fake_cublas.cpp takes
char workspace[16];

std::vector<uint16_t> small_whole_numbers(size_t n, int step) {
  std::vector<uint16_t> x(n);
  for (size_t i = 0; i < n; ++i) {
    const auto value = static_cast<float>(static_cast<int>(i * step % 5) - 2);
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    x[i] = static_cast<uint16_t>(bits >> 16);
  }
  return x;
}

float value(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

}  // namespace

TEST(the_product_is_x_times_the_rows_of_w) {
  std::string why;
  const auto cublas =
      CuBlas::find({"/nowhere", ESPALIER_FAKE_CUBLAS}, kStream, workspace, sizeof workspace, &why);
  CHECK_EQ(why, std::string());
  REQUIRE(cublas != nullptr);
  CHECK_EQ(cublas->version(), 130100);
  const int m = 3, n = 5, k = 7;
  const auto x = small_whole_numbers(m * k, 3), w = small_whole_numbers(n * k, 2);
  std::vector<uint16_t> y(m * n, 0x7fc0);
  CHECK_EQ(cublas->multiply(x.data(), w.data(), y.data(), m, n, k), std::string());
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      float want = 0;
      for (int l = 0; l < k; ++l) want += value(x[i * k + l]) * value(w[j * k + l]);
      CHECK_EQ(value(y[i * n + j]), want);
    }
  }
}

TEST(a_library_that_does_not_open_says_why) {
  std::string why;
  CHECK(CuBlas::find({ESPALIER_FAKE_CUBLAS}, nullptr, workspace, 16, &why) == nullptr);
  CHECK_EQ(why, std::string("cuBLAS takes no stream"));
  CHECK(CuBlas::find({ESPALIER_HOLLOW_CUBLAS}, kStream, workspace, 16, &why) == nullptr);
  CHECK_EQ(why, std::string("libcublas lacks a function that it should have"));
}
