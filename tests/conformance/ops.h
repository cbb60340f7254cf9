// What the tests of single ops share: contexts and buffers that clean up, random numbers, element
// types.
#ifndef ESPALIER_TESTS_CONFORMANCE_OPS_H
#define ESPALIER_TESTS_CONFORMANCE_OPS_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/convert.h"
#include "espalier.h"
#include "support/device.h"

namespace ops {

using Shape = std::vector<int64_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr double kUlp = 0x1p-24;  // the rounding error of fp32 next to 1

/** Numbers of rows at which law 1 is tested: alone, tiles, and one beside them. */
constexpr int kRowCounts[] = {1, 2, 7, 8, 9, 16, 33, 64};

inline void ok(espalier_status status) {
  if (status == ESPALIER_OK) return;
  check::failed("status", status, "%s", espalier_last_error());
  throw check::EndOfTest();
}

/** Checks that a call was refused, and that the text says why. */
inline void refused(espalier_status status, espalier_status expected, const std::string& text) {
  CHECK_EQ(status, expected);
  const std::string got = status == ESPALIER_OK ? "" : espalier_last_error();
  CHECK_MSG(got == text, "error = \"%s\", expected \"%s\"", got.c_str(), text.c_str());
}

struct Context {
  espalier_context* handle = nullptr;

  explicit Context(int threads = 2) {
    handle = espalier_test::create_context(threads);
    if (handle == nullptr) ok(ESPALIER_UNAVAILABLE);
  }
  ~Context() { espalier_context_destroy(handle); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  operator espalier_context*() const { return handle; }
};

/** A buffer of a context, filled from host memory. */
class Buffer {
 public:
  Buffer(const Context& ctx, int32_t type, const Shape& shape) {
    ok(espalier_buffer_create(
        ctx, type, static_cast<int32_t>(shape.size()), shape.data(), &handle_));
  }
  Buffer(const Context& ctx, const Shape& shape, const std::vector<float>& data)
      : Buffer(ctx, ESPALIER_FP32, shape) {
    write(data);
  }
  Buffer(const Context& ctx, const Shape& shape, const std::vector<int32_t>& data)
      : Buffer(ctx, ESPALIER_I32, shape) {
    write(data);
  }
  Buffer(const Context& ctx, const Shape& shape, const std::vector<uint64_t>& data)
      : Buffer(ctx, ESPALIER_U64, shape) {
    write(data);
  }
  /** Numbers that are rounded to the type; `data` becomes what they are then. */
  Buffer(const Context& ctx, int32_t type, const Shape& shape, std::vector<float>* data)
      : Buffer(ctx, type, shape) {
    std::vector<uint16_t> halves;
    for (float& x : *data) {
      if (type == ESPALIER_BF16) {
        espalier::Bf16 half;
        espalier::from_float(x, &half);
        x = espalier::to_float(half);
        halves.push_back(half.bits);
      } else if (type == ESPALIER_FP16) {
        espalier::Fp16 half;
        espalier::from_float(x, &half);
        x = espalier::to_float(half);
        halves.push_back(half.bits);
      }
    }
    if (type == ESPALIER_FP32) {
      write(*data);
    } else {
      write(halves);
    }
  }
  ~Buffer() { espalier_buffer_destroy(handle_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator espalier_buffer*() const { return handle_; }
  espalier_buffer* unless(bool absent) const { return absent ? nullptr : handle_; }

  template <class T>
  void write(const std::vector<T>& data) {
    ok(espalier_buffer_write(handle_, data.data(), static_cast<int64_t>(data.size() * sizeof(T))));
  }

  template <class T>
  std::vector<T> read(int64_t elements) const {
    std::vector<T> data(static_cast<size_t>(elements));
    ok(espalier_buffer_read(handle_, data.data(), elements * static_cast<int64_t>(sizeof(T))));
    return data;
  }

 private:
  espalier_buffer* handle_ = nullptr;
};

/** Random numbers; the seed of the run is in every failure's text. */
class Random {
 public:
  explicit Random(uint64_t salt) : engine_(check::seed() * 0x9E3779B97F4A7C15 + salt) {}

  float normal() { return normal_(engine_); }
  double uniform() { return std::uniform_real_distribution<double>()(engine_); }
  /** From 0 to end - 1. */
  int32_t below(int64_t end) {
    return static_cast<int32_t>(std::uniform_int_distribution<int64_t>(0, end - 1)(engine_));
  }
  uint64_t bits() { return engine_(); }
  std::vector<float> normals(int64_t count, float scale = 1) {
    std::vector<float> x(static_cast<size_t>(count));
    for (float& v : x) v = scale * normal();
    return x;
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<float> normal_;
};

inline bool same_bits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

inline const char* type_name(int32_t type) {
  return type == ESPALIER_FP32 ? "fp32" : type == ESPALIER_BF16 ? "bf16" : "fp16";
}

constexpr int32_t kFloatTypes[] = {ESPALIER_FP32, ESPALIER_BF16, ESPALIER_FP16};

}  // namespace ops

#endif
