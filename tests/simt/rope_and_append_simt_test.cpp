// rope_and_append: without norms the bits of the CPU backend, with norms within the bound; rows do not know each other.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "cpu/convert.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "orders.h"

using namespace espalier;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

constexpr int kQHeads = 3, kKvHeads = 2, kPages = 3, kPageSize = 16;
constexpr float kEps = 1e-5f;

/** One call; Cache is the storage of the cache's type. */
template <class Cache>
struct Call {
  Type type;
  int rows, head_dim;
  bool norms;
  std::vector<float> q, k, v, cos_sin, q_norm;
  std::vector<uint16_t> k_norm;  // bf16
  std::vector<int32_t> slot;

  Call(Type kv_type, int num_rows, int dim, bool with_norms, std::mt19937& random)
      : type(kv_type), rows(num_rows), head_dim(dim), norms(with_norms) {
    std::normal_distribution<float> normal(0.1f, 2.0f);
    const auto fill = [&](std::vector<float>* x, int n) {
      x->resize(n);
      for (float& value : *x) value = normal(random);
    };
    fill(&q, rows * kQHeads * head_dim);
    fill(&k, rows * kKvHeads * head_dim);
    fill(&v, rows * kKvHeads * head_dim);
    fill(&q_norm, head_dim);
    for (int i = 0; i < head_dim; ++i) {
      Bf16 weight;
      from_float(normal(random), &weight);
      k_norm.push_back(weight.bits);
    }
    std::vector<float> angle;
    fill(&angle, rows * head_dim / 2);
    for (int r = 0; r < rows; ++r) {
      for (int i = 0; i < head_dim / 2; ++i)
        cos_sin.push_back(std::cos(angle[r * head_dim / 2 + i]));
      for (int i = 0; i < head_dim / 2; ++i)
        cos_sin.push_back(std::sin(angle[r * head_dim / 2 + i]));
    }
    std::vector<int32_t> all(kPages * kPageSize);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
    std::shuffle(all.begin(), all.end(), random);
    slot.assign(all.begin(), all.begin() + rows);
  }

  int64_t cache_elements() const { return int64_t{kPages} * kPageSize * kKvHeads * head_dim; }

  RopeAndAppendArgs args() const {
    RopeAndAppendArgs a{};
    a.kv_type = type;
    a.rows = rows;
    a.num_q_heads = kQHeads;
    a.num_kv_heads = kKvHeads;
    a.head_dim = head_dim;
    return a;
  }

  /** Row r of the call, alone. */
  Call row(int r) const {
    Call one = *this;
    const auto cut = [&](const std::vector<float>& x, int n) {
      return std::vector<float>(x.begin() + r * n, x.begin() + (r + 1) * n);
    };
    one.rows = 1;
    one.q = cut(q, kQHeads * head_dim);
    one.k = cut(k, kKvHeads * head_dim);
    one.v = cut(v, kKvHeads * head_dim);
    one.cos_sin = cut(cos_sin, head_dim);
    one.slot = {slot[r]};
    return one;
  }
};

template <class Cache>
struct Result {
  std::vector<float> q;
  std::vector<Cache> k, v;
};

template <class Cache>
Result<Cache> on_cpu(const Call<Cache>& call) {
  static const auto cpu = make_cpu_backend(1);
  Result<Cache> out{
      call.q, std::vector<Cache>(call.cache_elements()), std::vector<Cache>(call.cache_elements())};
  RopeAndAppendArgs a = call.args();
  a.q = out.q.data();
  a.k = call.k.data();
  a.v = call.v.data();
  a.cos_sin = call.cos_sin.data();
  a.slot = call.slot.data();
  a.k_cache = out.k.data();
  a.v_cache = out.v.data();
  if (call.norms) {
    a.q_norm = {call.q_norm.data(), Type::kFp32, kEps};
    a.k_norm = {call.k_norm.data(), Type::kBf16, kEps};
  }
  cpu->rope_and_append(a);
  return out;
}

/** The cache holds zeros before, so that what must not be written is seen. */
template <class Cache>
Result<Cache> emulated(const Call<Cache>& call) {
  const Buffer<float> q("q", call.q);
  const auto k = Buffer<float>::input("k", call.k), v = Buffer<float>::input("v", call.v),
             cos_sin = Buffer<float>::input("cos_sin", call.cos_sin),
             q_norm = Buffer<float>::input("q_norm", call.q_norm);
  const auto k_norm = Buffer<uint16_t>::input("k_norm", call.k_norm);
  const auto slot = Buffer<int32_t>::input("slot", call.slot);
  const std::vector<Cache> zeros(call.cache_elements());
  const Buffer<Cache> k_cache("k_cache", zeros), v_cache("v_cache", zeros);
  RopeAndAppendArgs a = call.args();
  a.q = q.data();
  a.k = k.data();
  a.v = v.data();
  a.cos_sin = cos_sin.data();
  a.slot = slot.data();
  a.k_cache = k_cache.data();
  a.v_cache = v_cache.data();
  if (call.norms) {
    a.q_norm = {q_norm.data(), Type::kFp32, kEps};
    a.k_norm = {k_norm.data(), Type::kBf16, kEps};
  }
  cuda_rope_and_append(a, nullptr);
  return {
      {q.data(), q.data() + call.q.size()},
      {k_cache.data(), k_cache.data() + zeros.size()},
      {v_cache.data(), v_cache.data() + zeros.size()}};
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

template <class Cache>
void check_bits(Type type, std::mt19937& random) {
  for (const int head_dim : {2, 10, 64, 66, 128, 256}) {
    for (const int rows : {1, 3, 9}) {
      const Call<Cache> call(type, rows, head_dim, false, random);
      const Result<Cache> want = on_cpu(call);
      for_each_order([&](const char* order) {
        const Result<Cache> got = emulated(call);
        CHECK_MSG(
            same_bits(got.q, want.q) && same_bits(got.k, want.k) && same_bits(got.v, want.v),
            "%s: type %d, head_dim %d, rows %d", order, static_cast<int>(type), head_dim, rows);
      });
    }
  }
}

}  // namespace

TEST(without_norms_the_bits_of_the_cpu) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  check_bits<float>(Type::kFp32, random);
  check_bits<uint16_t>(Type::kBf16, random);
  check_bits<uint16_t>(Type::kFp16, random);
}

TEST(norms_are_within_their_bound_of_fp64) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int head_dim : {2, 10, 64, 66, 128, 256}) {
    const Call<float> call(Type::kFp32, 3, head_dim, true, random);
    const int half = head_dim / 2;
    for_each_order([&](const char* order) {
      const Result<float> got = emulated(call);
      const auto check_head = [&](const float* x, bool is_q, int r, const float* out) {
        double squares = 0;
        for (int i = 0; i < head_dim; ++i) squares += double{x[i]} * x[i];
        const double factor = 1 / std::sqrt(squares / head_dim + kEps);
        const auto weight = [&](int i) {
          return is_q ? double{call.q_norm[i]} : double{to_float(Bf16{call.k_norm[i]})};
        };
        // The norm's error and three roundings of the rotation, of the sum of the magnitudes.
        const double relative = ((head_dim / 32.0 + 2 + 5) / 2 + 5 + 3) * 0x1p-24;
        for (int d = 0; d < head_dim; ++d) {
          const int i = d % half;
          const double c = call.cos_sin[r * head_dim + i],
                       s = call.cos_sin[r * head_dim + half + i];
          const double a = x[i] * factor * weight(i), b = x[i + half] * factor * weight(i + half);
          const double ref = d < half ? a * c - b * s : b * c + a * s;
          const double size =
              d < half ? std::fabs(a * c) + std::fabs(b * s) : std::fabs(b * c) + std::fabs(a * s);
          CHECK_MSG(
              std::fabs(out[d] - ref) <= relative * size,
              "%s: head_dim %d, row %d, %c, element %d: %g, ref %g", order, head_dim, r,
              is_q ? 'q' : 'k', d, out[d], ref);
        }
      };
      for (int r = 0; r < call.rows; ++r) {
        for (int h = 0; h < kQHeads; ++h) {
          const int at = (r * kQHeads + h) * head_dim;
          check_head(&call.q[at], true, r, &got.q[at]);
        }
        for (int h = 0; h < kKvHeads; ++h) {
          check_head(
              &call.k[(r * kKvHeads + h) * head_dim], false, r,
              &got.k[(call.slot[r] * kKvHeads + h) * head_dim]);
        }
      }
      CHECK(same_bits(got.v, on_cpu(call).v));
    });
  }
}

TEST(a_row_alone_and_among_others_has_the_same_bits) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int rows : {2, 7, 8, 9, 16, 33}) {
    const Call<uint16_t> call(Type::kBf16, rows, 64, true, random);
    const Result<uint16_t> all = emulated(call);
    for (int r = 0; r < rows; r += 3) {
      const Result<uint16_t> one = emulated(call.row(r));
      const int q_row = kQHeads * 64, kv_row = kKvHeads * 64;
      CHECK(std::memcmp(one.q.data(), &all.q[r * q_row], q_row * sizeof(float)) == 0);
      const int at = call.slot[r] * kv_row;
      CHECK(std::memcmp(&one.k[at], &all.k[at], kv_row * sizeof(uint16_t)) == 0);
      CHECK(std::memcmp(&one.v[at], &all.v[at], kv_row * sizeof(uint16_t)) == 0);
    }
  }
}

TEST(nan_and_infinity_stay_in_their_head) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  Call<uint16_t> call(Type::kBf16, 5, 64, true, random);
  const Result<uint16_t> clean = emulated(call);
  const int q_head = 2 * kQHeads + 1, k_head = 3 * kKvHeads;
  call.q[q_head * 64 + 3] = std::numeric_limits<float>::quiet_NaN();
  call.k[k_head * 64 + 7] = std::numeric_limits<float>::infinity();
  const Result<uint16_t> got = emulated(call);
  for (size_t i = 0; i < got.q.size(); ++i) {
    const bool hit = static_cast<int>(i) / 64 == q_head;
    CHECK(hit ? std::isnan(got.q[i]) : got.q[i] == clean.q[i]);
  }
  const int at = call.slot[3] * kKvHeads;
  int changed = 0;
  for (size_t i = 0; i < got.k.size(); ++i) {
    const bool hit = static_cast<int>(i) / 64 == at;
    changed += hit && got.k[i] != clean.k[i];
    CHECK(hit || got.k[i] == clean.k[i]);
  }
  CHECK(changed > 0);
  CHECK(got.v == clean.v);
}

TEST(slots_beyond_2_to_31_elements) {
  constexpr int kHeadDim = 128;
  constexpr int64_t kSlot = (int64_t{3} << 30) / kHeadDim;
  const auto k_cache = Buffer<uint16_t>::sparse("k_cache", (kSlot + 1) * kHeadDim),
             v_cache = Buffer<uint16_t>::sparse("v_cache", (kSlot + 1) * kHeadDim);
  const Buffer<float> q("q", std::vector<float>(kHeadDim, 1.0f));
  const auto ones = Buffer<float>::input("k, v", std::vector<float>(kHeadDim, 1.0f));
  std::vector<float> unturned(kHeadDim, 0.0f);
  std::fill_n(unturned.begin(), kHeadDim / 2, 1.0f);
  const auto cos_sin = Buffer<float>::input("cos_sin", unturned);
  const auto slot = Buffer<int32_t>::input("slot", {static_cast<int32_t>(kSlot)});
  RopeAndAppendArgs a{};
  a.q = q.data();
  a.k = a.v = ones.data();
  a.cos_sin = cos_sin.data();
  a.slot = slot.data();
  a.k_cache = k_cache.data();
  a.v_cache = v_cache.data();
  a.kv_type = Type::kBf16;
  a.rows = a.num_q_heads = a.num_kv_heads = 1;
  a.head_dim = kHeadDim;
  cuda_rope_and_append(a, nullptr);
  for (int i = 0; i < kHeadDim; ++i) {
    CHECK_EQ(k_cache.data()[kSlot * kHeadDim + i], 0x3f80);
    CHECK_EQ(v_cache.data()[kSlot * kHeadDim + i], 0x3f80);
  }
}

TEST(no_rows_no_launch) {
  const auto before = simt::emulated::counts().threads;
  RopeAndAppendArgs a{};
  a.num_q_heads = a.num_kv_heads = 1;
  a.head_dim = 64;
  cuda_rope_and_append(a, nullptr);
  CHECK_EQ(simt::emulated::counts().threads, before);
}
