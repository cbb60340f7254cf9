// rope_and_append: rotations against fp64, and what lands in the cache.
#include <algorithm>

#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Vector = std::vector<float>;

struct Inputs {
  int rows, q_heads = 3, kv_heads = 2, head_dim = 10, pages = 9, page_size = 16;
  float eps = 1e-5f;
  Vector q, k, v, cos_sin, q_norm, k_norm;  // empty norms for none
  std::vector<int32_t> slot;

  Inputs(int num_rows, Random& random) : rows(num_rows) {
    q = random.normals(int64_t{rows} * q_heads * head_dim);
    k = random.normals(int64_t{rows} * kv_heads * head_dim);
    v = random.normals(int64_t{rows} * kv_heads * head_dim);
    for (int r = 0; r < rows; ++r) {
      const Vector angle = random.normals(head_dim / 2, 5);
      for (const float a : angle) cos_sin.push_back(std::cos(a));
      for (const float a : angle) cos_sin.push_back(std::sin(a));
    }
    std::vector<int32_t> slots(pages * page_size);
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<int32_t>(i);
    for (int r = 0; r < rows; ++r) {
      std::swap(slots[r], slots[r + random.below(static_cast<int64_t>(slots.size()) - r)]);
      slot.push_back(slots[r]);
    }
  }

  Shape cache() const { return {pages, page_size, kv_heads, head_dim}; }

  espalier_status run(
      const Context& ctx, Buffer& q_buffer, Buffer& k_cache, Buffer& v_cache) const {
    Buffer k_buffer(ctx, {rows, kv_heads, head_dim}, k),
        v_buffer(ctx, {rows, kv_heads, head_dim}, v);
    Buffer cos_sin_buffer(ctx, {rows, 2, head_dim / 2}, cos_sin), slot_buffer(ctx, {rows}, slot);
    Vector q_norms = q_norm, k_norms = k_norm;
    q_norms.resize(static_cast<size_t>(head_dim));
    k_norms.resize(static_cast<size_t>(head_dim));
    Buffer q_norm_buffer(ctx, ESPALIER_BF16, {head_dim}, &q_norms),
        k_norm_buffer(ctx, {head_dim}, k_norms);
    return espalier_rope_and_append(
        ctx, q_buffer, k_buffer, v_buffer, q_norm_buffer.unless(q_norm.empty()),
        k_norm_buffer.unless(k_norm.empty()), eps, cos_sin_buffer, slot_buffer, k_cache, v_cache);
  }

  /** Element d of a head that is rotated by row r, in fp64, and the bound of its fp32 errors. */
  double rotated(const float* head, int r, int d, double* bound) const {
    const int half = head_dim / 2, i = d % half;
    const double c = cos_sin[r * head_dim + i], s = cos_sin[r * head_dim + half + i];
    const double a = head[i], b = head[i + half];
    *bound = 2 * kUlp * (std::fabs(d < half ? a * c : b * c) + std::fabs(d < half ? b * s : a * s));
    return d < half ? a * c - b * s : b * c + a * s;
  }
};

}  // namespace

TEST(q_is_rotated_and_k_and_v_are_appended) {
  const Context ctx;
  Random random(1);
  for (const int32_t type : kFloatTypes) {
    for (const int rows : kRowCounts) {
      const Inputs in(rows, random);
      Buffer q(ctx, {rows, in.q_heads, in.head_dim}, in.q), k_cache(ctx, type, in.cache()),
          v_cache(ctx, type, in.cache());
      ok(in.run(ctx, q, k_cache, v_cache));
      const Vector out = q.read<float>(static_cast<int64_t>(in.q.size()));
      double bound;
      for (size_t i = 0; i < out.size(); ++i) {
        const int d = static_cast<int>(i) % in.head_dim,
                  r = static_cast<int>(i) / (in.q_heads * in.head_dim);
        const double ref = in.rotated(&in.q[i - d], r, d, &bound);
        CHECK_MSG(
            std::fabs(out[i] - ref) <= bound, "q row %d, element %zu: %g, ref %g", r, i, out[i],
            ref);
      }
      // Rows of the cache: K is fp32 rounded to the type, V the input rounded; everything else is
      //      still 0.
      const int64_t kv_dim = in.kv_heads * in.head_dim, elements = kv_dim * in.pages * in.page_size;
      const int64_t bytes = type == ESPALIER_FP32 ? 4 : 2;
      const std::vector<uint8_t> k_bytes = k_cache.read<uint8_t>(elements * bytes);
      const std::vector<uint8_t> v_bytes = v_cache.read<uint8_t>(elements * bytes);
      const auto element = [&](const std::vector<uint8_t>& data, int64_t i) {
        uint32_t word = 0;
        std::memcpy(&word, &data[i * bytes], bytes);
        if (type == ESPALIER_BF16)
          return espalier::to_float(espalier::Bf16{static_cast<uint16_t>(word)});
        if (type == ESPALIER_FP16)
          return espalier::to_float(espalier::Fp16{static_cast<uint16_t>(word)});
        return std::bit_cast<float>(word);
      };
      const double type_ulp = type == ESPALIER_FP32 ? 0 : type == ESPALIER_BF16 ? 0x1p-8 : 0x1p-11;
      std::vector<int> row_of(in.pages * in.page_size, -1);
      for (int r = 0; r < rows; ++r) row_of[in.slot[r]] = r;
      for (int64_t i = 0; i < elements; ++i) {
        const int r = row_of[i / kv_dim], d = static_cast<int>(i % in.head_dim);
        if (r < 0) {
          CHECK(element(k_bytes, i) == 0 && element(v_bytes, i) == 0);
          continue;
        }
        const int64_t at = r * kv_dim + i % kv_dim;
        const double ref = in.rotated(&in.k[at - d], r, d, &bound);
        bound += type_ulp * (std::fabs(ref) + bound) + 0x1p-25;
        CHECK_MSG(
            std::fabs(element(k_bytes, i) - ref) <= bound, "k row %d: %g, ref %g", r,
            element(k_bytes, i), ref);
        CHECK(
            std::fabs(element(v_bytes, i) - in.v[at]) <= type_ulp * std::fabs(in.v[at]) + 0x1p-25);
      }
    }
  }
}

TEST(a_row_alone_and_among_others_has_the_same_bits) {
  const Context ctx;
  Random random(2);
  const Inputs all(64, random);
  Buffer q(ctx, {64, 3, 10}, all.q), k_cache(ctx, ESPALIER_BF16, all.cache()),
      v_cache(ctx, ESPALIER_BF16, all.cache());
  ok(all.run(ctx, q, k_cache, v_cache));
  Buffer k_alone(ctx, ESPALIER_BF16, all.cache()), v_alone(ctx, ESPALIER_BF16, all.cache());
  const Vector whole = q.read<float>(64 * 30);
  for (int r = 0; r < 64; ++r) {
    Inputs one(1, random);
    one.q.assign(all.q.begin() + r * 30, all.q.begin() + (r + 1) * 30);
    one.k.assign(all.k.begin() + r * 20, all.k.begin() + (r + 1) * 20);
    one.v.assign(all.v.begin() + r * 20, all.v.begin() + (r + 1) * 20);
    one.cos_sin.assign(all.cos_sin.begin() + r * 10, all.cos_sin.begin() + (r + 1) * 10);
    one.slot = {all.slot[r]};
    Buffer q_one(ctx, {1, 3, 10}, one.q);
    ok(one.run(ctx, q_one, k_alone, v_alone));
    CHECK(same_bits(q_one.read<float>(30).data(), &whole[r * 30], 30));
  }
  CHECK(k_alone.read<uint16_t>(9 * 16 * 20) == k_cache.read<uint16_t>(9 * 16 * 20));
  CHECK(v_alone.read<uint16_t>(9 * 16 * 20) == v_cache.read<uint16_t>(9 * 16 * 20));
}

TEST(norms_of_heads_on_the_way_have_the_bits_of_norms_before) {
  if (!espalier_test::on_cpu()) return;  // elsewhere heads are summed in an order of their own
  const Context ctx;
  Random random(4);
  for (const bool of_q : {true, false}) {
    for (const int rows : {1, 9}) {
      Inputs in(rows, random);
      Vector norm = random.normals(in.head_dim);
      const Buffer bf16(ctx, ESPALIER_BF16, {in.head_dim}, &norm);  // rounds norm
      Inputs before = in;
      Vector& heads = of_q ? before.q : before.k;
      const int64_t num = static_cast<int64_t>(heads.size()) / in.head_dim;
      Buffer x(ctx, {num, in.head_dim}, heads), weight(ctx, {in.head_dim}, norm);
      ok(espalier_rms_norm(ctx, x, weight, in.eps, x));
      heads = x.read<float>(num * in.head_dim);
      (of_q ? in.q_norm : in.k_norm) = norm;
      Vector q[2];
      std::vector<uint16_t> k[2], v[2];
      const int64_t elements = int64_t{in.pages} * in.page_size * in.kv_heads * in.head_dim;
      for (const Inputs* inputs : {&before, &in}) {
        const int i = inputs == &in;
        Buffer q_buffer(ctx, {rows, in.q_heads, in.head_dim}, inputs->q);
        Buffer k_cache(ctx, ESPALIER_FP16, in.cache()), v_cache(ctx, ESPALIER_FP16, in.cache());
        ok(inputs->run(ctx, q_buffer, k_cache, v_cache));
        q[i] = q_buffer.read<float>(static_cast<int64_t>(in.q.size()));
        k[i] = k_cache.read<uint16_t>(elements);
        v[i] = v_cache.read<uint16_t>(elements);
      }
      CHECK_MSG(
          same_bits(q[0].data(), q[1].data(), static_cast<int64_t>(q[0].size())), "q, of_q %d",
          of_q);
      CHECK_MSG(k[0] == k[1], "k, of_q %d", of_q);
      CHECK(v[0] == v[1]);
    }
  }
}

TEST(bad_arguments_are_refused_and_outputs_are_untouched) {
  const Context ctx;
  Random random(3);
  Inputs in(2, random);
  Buffer q(ctx, {2, 3, 10}, in.q), k_cache(ctx, ESPALIER_BF16, in.cache()),
      v_cache(ctx, ESPALIER_BF16, in.cache());
  const std::string name = "espalier_rope_and_append: ";
  const auto refuses = [&](const std::string& text) {
    refused(in.run(ctx, q, k_cache, v_cache), ESPALIER_INVALID_ARGUMENT, name + text);
  };
  if (espalier_test::on_cpu()) {  // a GPU's memory is not read for checks
    in.slot = {3, 144};
    refuses("slot[1] = 144, expected 0 <= slot < num_pages * page_size = 144");
    in.slot = {3, 3};
    refuses("slot = 3 twice, expected all different");
  }
  in.slot = {3, 4};
  in.k_norm = Vector(10, 1);
  in.eps = -1;
  refuses("eps = -1, expected a finite number >= 0");
  CHECK(q.read<float>(60) == in.q);
  CHECK(k_cache.read<uint16_t>(144 * 20) == std::vector<uint16_t>(144 * 20));
}
