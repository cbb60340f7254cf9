// The ABI functions of single ops: every argument is checked, then the backend computes.
#include <algorithm>
#include <climits>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "ops/law.h"
#include "runtime/checks.h"
#include "runtime/objects.h"

using namespace espalier;

namespace {

using ll = long long;

constexpr int32_t kMostBest = 64;  // largest k of top_k and sample

/** A length that several arguments share: the first one sets it, the others must agree. */
struct Dim {
  const char* name;
  int64_t value = -1;
  const char* set_by = nullptr;
};

/** The types that an argument may have. */
enum class Kind { kFp32, kFloat, kInt, kU64 };

bool fits(Kind kind, Type type) {
  switch (kind) {
    case Kind::kFp32:
      return type == Type::kFp32;
    case Kind::kFloat:
      return type == Type::kFp32 || type == Type::kBf16 || type == Type::kFp16;
    case Kind::kInt:
      return type == Type::kI32;
    default:
      return type == Type::kU64;
  }
}

const char* rule_of(Kind kind) {
  static const char* const rules[] = {"fp32", "fp32, bf16 or fp16", "i32", "u64"};
  return rules[static_cast<int>(kind)];
}

/** One call of an op: the context, and the checks of its buffers. */
class OpCall {
 public:
  explicit OpCall(espalier_context* ctx) : device_(check_context(ctx)), claim_(*device_) {}

  Backend& backend() const { return *device_->backend; }
  bool on_cpu() const { return backend().kind() == ESPALIER_CPU; }
  const std::shared_ptr<Device>& device() const { return device_; }

  template <class Args>
  void run(void (Backend::*op)(const Args&), const Args& args) const {
    (backend().*op)(args);
    check(backend());
  }

  /** Checks a buffer and returns its data. Dimensions that nobody has set yet take its lengths. */
  template <class T>
  T* data(
      const espalier_buffer* buffer, const char* name, Kind kind,
      std::initializer_list<Dim*> dims) const {
    need(buffer, name);
    if (buffer->device != device_) {
      fail(ESPALIER_INVALID_ARGUMENT, "context of %s = another one, expected ctx", name);
    }
    if (!fits(kind, buffer->type)) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "type of %s = %s, expected %s", name, type_name(buffer->type),
          rule_of(kind));
    }
    check_shape(*buffer, name, dims);
    return static_cast<T*>(buffer->data);
  }

  /** The same for an argument that may be NULL. */
  template <class T>
  T* optional(
      const espalier_buffer* buffer, const char* name, Kind kind,
      std::initializer_list<Dim*> dims) const {
    return buffer == nullptr ? nullptr : data<T>(buffer, name, kind, dims);
  }

  /**
   * The integers of a buffer that was checked: host memory. Empty where the device's memory cannot
   * be looked at.
   */
  std::vector<int32_t> contents(const espalier_buffer* buffer) const {
    if (!on_cpu()) return {};
    const int32_t* data = static_cast<const int32_t*>(buffer->data);
    return std::vector<int32_t>(data, data + buffer->elements());
  }

 private:
  static std::shared_ptr<Device> check_context(espalier_context* ctx) {
    need(ctx, "ctx");
    return ctx->device;
  }

  static void check_shape(
      const espalier_buffer& buffer, const char* name, std::initializer_list<Dim*> dims) {
    if (buffer.shape.size() != dims.size()) {
      std::string shape;
      for (const Dim* dim : dims) shape += (shape.empty() ? "" : ", ") + std::string(dim->name);
      fail(
          ESPALIER_INVALID_ARGUMENT, "rank of %s = %zu, expected %zu: [%s]", name,
          buffer.shape.size(), dims.size(), shape.c_str());
    }
    size_t i = 0;
    for (Dim* dim : dims) {
      const int64_t got = buffer.shape[i++];
      if (dim->value < 0) {
        dim->value = got;
        dim->set_by = name;
      } else if (got != dim->value && dim->set_by == nullptr) {
        fail(
            ESPALIER_INVALID_ARGUMENT, "%s of %s = %lld, expected %lld", dim->name, name, ll{got},
            ll{dim->value});
      } else if (got != dim->value) {
        fail(
            ESPALIER_INVALID_ARGUMENT, "%s of %s = %lld, expected %lld, as %s has", dim->name, name,
            ll{got}, ll{dim->value}, dim->set_by);
      }
    }
  }

  std::shared_ptr<Device> device_;
  Claim claim_;
};

/** The value of a dimension that must lie within bounds. */
int32_t bounded(const Dim& dim, int64_t least, int64_t most = INT32_MAX) {
  if (dim.value < least || dim.value > most) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "%s = %lld, expected %lld to %lld", dim.name, ll{dim.value},
        ll{least}, ll{most});
  }
  return static_cast<int32_t>(dim.value);
}

/** The product of lengths that must stay within an int32_t: blocks of a launch are counted in it. */
void check_product(const char* what, int64_t a, int64_t b) {
  int64_t product = 0;
  if (!__builtin_mul_overflow(a, b, &product) && product <= INT32_MAX) return;
  fail(
      ESPALIER_INVALID_ARGUMENT, "%s = %lld * %lld, expected at most %d", what, ll{a}, ll{b},
      INT32_MAX);
}

void check_range(
    const char* name, size_t i, int64_t value, int64_t least, int64_t end, const char* end_name) {
  if (value >= least && value < end) return;
  fail(
      ESPALIER_INVALID_ARGUMENT, "%s[%zu] = %lld, expected %lld <= %s < %s = %lld", name, i,
      ll{value}, ll{least}, name, end_name, ll{end});
}

void check_all(
    const std::vector<int32_t>& values, const char* name, int64_t least, int64_t end,
    const char* end_name) {
  for (size_t i = 0; i < values.size(); ++i) check_range(name, i, values[i], least, end, end_name);
}

/**
 * Throws when memory that is written overlaps memory that is read, or written as something else.
 */
void check_apart(
    const espalier_buffer* out, const char* out_name,
    std::initializer_list<std::pair<const espalier_buffer*, const char*>> others) {
  if (out == nullptr) return;
  const char* begin = static_cast<const char*>(out->data);
  for (const auto& [other, name] : others) {
    if (other == nullptr || out->bytes() == 0 || other->bytes() == 0) continue;
    const char* other_begin = static_cast<const char*>(other->data);
    if (begin < other_begin + other->bytes() && other_begin < begin + out->bytes()) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "memory of %s = memory of %s, expected them apart", out_name,
          name);
    }
  }
}

/** Whether two buffers are the same memory. */
bool same_memory(const espalier_buffer* a, const espalier_buffer* b) {
  return a != nullptr && b != nullptr && a->data == b->data;
}

Weight weight_of(const espalier_buffer* buffer) {
  if (buffer == nullptr) return {};
  const bool matrix = buffer->shape.size() == 2;
  return {buffer->data, buffer->type, buffer->shape[0], matrix ? buffer->shape[1] : 1};
}

void check_eps(float eps) {
  if (!std::isfinite(eps) || eps < 0) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "eps = %g, expected a finite number >= 0",
        static_cast<double>(eps));
  }
}

/** A norm on the way of another op: NULL for none. */
Norm norm_of(
    const OpCall& call, const espalier_buffer* weight, const char* name, Dim* len, float eps) {
  if (weight == nullptr) return {};
  const void* data = call.data<void>(weight, name, Kind::kFloat, {len});
  check_eps(eps);
  return {data, weight->type, eps};
}

/** What a part of skinny_gemm is called. */
struct PartNames {
  const char *w, *bias, *out;
};

GemmPart part_of(
    const OpCall& call, const PartNames& names, Dim* m, Dim* k, Dim* n, const espalier_buffer* w,
    const espalier_buffer* bias, espalier_buffer* out) {
  call.data<void>(w, names.w, Kind::kFloat, {n, k});
  call.optional<void>(bias, names.bias, Kind::kFloat, {n});
  return {weight_of(w), weight_of(bias), call.data<float>(out, names.out, Kind::kFp32, {m, n})};
}

void check_type_of(const Weight& weight, const char* name, const Weight& first) {
  if (weight.type == first.type) return;
  fail(
      ESPALIER_INVALID_ARGUMENT, "type of %s = %s, expected %s, as w has", name,
      type_name(weight.type), type_name(first.type));
}

/** Throws when an argument is given without the one that it belongs to, or with one that excludes it. */
void check_absent(const espalier_buffer* buffer, const char* name, bool absent, const char* where) {
  if (buffer == nullptr || !absent) return;
  fail(ESPALIER_INVALID_ARGUMENT, "%s = a buffer, expected NULL where %s", name, where);
}

/** Trees follow each other from node 0 on, and none is empty. */
void check_begins(const std::vector<int32_t>& begin, int64_t num_nodes) {
  if (begin.empty()) return;
  if (begin[0] != 0) fail(ESPALIER_INVALID_ARGUMENT, "tree_begin[0] = %d, expected 0", begin[0]);
  for (size_t b = 0; b + 1 < begin.size(); ++b) {
    if (begin[b + 1] <= begin[b]) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "tree_begin[%zu] = %d, expected more than tree_begin[%zu] = %d", b + 1, begin[b + 1], b,
          begin[b]);
    }
  }
  if (begin.back() != num_nodes) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "tree_begin[%zu] = %d, expected num_nodes = %lld",
        begin.size() - 1, begin.back(), ll{num_nodes});
  }
}

/** In the tree that begins at `first`, parents come before their children. */
void check_parents(const std::vector<int32_t>& parent, int64_t first, int64_t end) {
  for (int64_t i = first; i < end; ++i) {
    if (i == first && parent[i] != -1) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "parent[%lld] = %d, expected -1 for node 0 of a tree", ll{i},
          parent[i]);
    }
    if (i > first) check_range("parent", i, parent[i], 0, i - first, "the node's own index");
  }
}

void check_trees(const std::vector<int32_t>& begin, const std::vector<int32_t>& parent) {
  check_begins(begin, static_cast<int64_t>(parent.size()));
  for (size_t b = 0; b + 1 < begin.size(); ++b) check_parents(parent, begin[b], begin[b + 1]);
}

/** A paged cache: k_cache and v_cache of one type and shape. */
struct Cache {
  Dim pages{"num_pages"}, page_size{"page_size"}, heads{"num_kv_heads"}, head_dim{"head_dim"};
  void* k = nullptr;
  void* v = nullptr;
  Type type = Type::kFp32;

  void check(const OpCall& call, const espalier_buffer* k_cache, const espalier_buffer* v_cache) {
    k = call.data<void>(k_cache, "k_cache", Kind::kFloat, {&pages, &page_size, &heads, &head_dim});
    v = call.data<void>(v_cache, "v_cache", Kind::kFloat, {&pages, &page_size, &heads, &head_dim});
    type = k_cache->type;
    if (v_cache->type != type) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "type of v_cache = %s, expected %s, as k_cache has",
          type_name(v_cache->type), type_name(type));
    }
    bounded(page_size, 1);
    bounded(heads, 1);
    bounded(head_dim, 1);
    check_product("num_kv_heads * head_dim", heads.value, head_dim.value);
    if (slots() > INT32_MAX) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "num_pages * page_size = %lld, expected at most %d",
          ll{slots()}, INT32_MAX);
    }
  }

  int64_t slots() const { return pages.value * page_size.value; }
};

}  // namespace

espalier_status espalier_embed(
    espalier_context* ctx, const espalier_buffer* table, const espalier_buffer* token,
    espalier_buffer* out) {
  return guarded("espalier_embed", [&] {
    const OpCall call(ctx);
    Dim rows{"rows"}, vocab{"vocab"}, hidden{"hidden"};
    EmbedArgs args{};
    call.data<void>(table, "table", Kind::kFloat, {&vocab, &hidden});
    args.token = call.data<int32_t>(token, "token", Kind::kInt, {&rows});
    args.out = call.data<float>(out, "out", Kind::kFp32, {&rows, &hidden});
    args.rows = bounded(rows, 0);
    check_all(call.contents(token), "token", 0, vocab.value, "vocab");
    check_apart(out, "out", {{table, "table"}, {token, "token"}});
    args.table = weight_of(table);
    call.run(&Backend::embed, args);
  });
}

espalier_status espalier_rms_norm(
    espalier_context* ctx, const espalier_buffer* x, const espalier_buffer* weight, float eps,
    espalier_buffer* out) {
  return guarded("espalier_rms_norm", [&] {
    const OpCall call(ctx);
    Dim rows{"rows"}, hidden{"hidden"};
    RmsNormArgs args{};
    args.x = call.data<float>(x, "x", Kind::kFp32, {&rows, &hidden});
    args.weight = call.data<void>(weight, "weight", Kind::kFloat, {&hidden});
    args.out = call.data<float>(out, "out", Kind::kFp32, {&rows, &hidden});
    check_eps(eps);
    check_apart(out, "out", {{weight, "weight"}, {same_memory(x, out) ? nullptr : x, "x"}});
    args.weight_type = weight->type;
    args.eps = eps;
    args.rows = bounded(rows, 0);
    args.hidden = hidden.value;
    call.run(&Backend::rms_norm, args);
  });
}

espalier_status espalier_skinny_gemm(
    espalier_context* ctx, const espalier_buffer* x, const espalier_buffer* norm, float eps,
    const espalier_buffer* w, const espalier_buffer* bias, const espalier_buffer* up,
    const espalier_buffer* up_bias, const espalier_buffer* residual, espalier_buffer* out,
    const espalier_buffer* w2, const espalier_buffer* bias2, espalier_buffer* out2,
    const espalier_buffer* w3, const espalier_buffer* bias3, espalier_buffer* out3) {
  return guarded("espalier_skinny_gemm", [&] {
    const OpCall call(ctx);
    Dim m{"m"}, n{"n"}, n2{"n2"}, n3{"n3"}, k{"k"};
    SkinnyGemmArgs args;
    args.x = call.data<float>(x, "x", Kind::kFp32, {&m, &k});
    args.norm = norm_of(call, norm, "norm", &k, eps);
    args.part[0] = part_of(call, {"w", "bias", "out"}, &m, &k, &n, w, bias, out);
    call.optional<void>(up, "up", Kind::kFloat, {&n, &k});
    call.optional<void>(up_bias, "up_bias", Kind::kFloat, {&n});
    args.residual = call.optional<float>(residual, "residual", Kind::kFp32, {&m, &n});
    args.up = weight_of(up);
    args.up_bias = weight_of(up_bias);
    if (up != nullptr) check_type_of(args.up, "up", args.part[0].w);
    check_absent(residual, "residual", up != nullptr, "up is given");
    check_absent(up_bias, "up_bias", up == nullptr, "up is NULL");
    check_absent(up, "up", w2 != nullptr, "w2 is given");
    check_absent(residual, "residual", w2 != nullptr, "w2 is given");
    check_absent(bias2, "bias2", w2 == nullptr, "w2 is NULL");
    check_absent(out2, "out2", w2 == nullptr, "w2 is NULL");
    check_absent(w3, "w3", w2 == nullptr, "w2 is NULL");
    check_absent(bias3, "bias3", w3 == nullptr, "w3 is NULL");
    check_absent(out3, "out3", w3 == nullptr, "w3 is NULL");
    if (w2 != nullptr) {
      args.part[1] = part_of(call, {"w2", "bias2", "out2"}, &m, &k, &n2, w2, bias2, out2);
      check_type_of(args.part[1].w, "w2", args.part[0].w);
      args.num_parts = 2;
    }
    if (w3 != nullptr) {
      args.part[2] = part_of(call, {"w3", "bias3", "out3"}, &m, &k, &n3, w3, bias3, out3);
      check_type_of(args.part[2].w, "w3", args.part[0].w);
      args.num_parts = 3;
    }
    const auto check_out = [&](espalier_buffer* written, const char* name) {
      check_apart(
          written, name,
          {{x, "x"},
           {norm, "norm"},
           {w, "w"},
           {bias, "bias"},
           {up, "up"},
           {up_bias, "up_bias"},
           {same_memory(residual, written) ? nullptr : residual, "residual"},
           {w2, "w2"},
           {bias2, "bias2"},
           {w3, "w3"},
           {bias3, "bias3"}});
    };
    check_out(out, "out");
    check_out(out2, "out2");
    check_out(out3, "out3");
    check_apart(out, "out", {{out2, "out2"}, {out3, "out3"}});
    check_apart(out2, "out2", {{out3, "out3"}});
    for (const Dim* rows : {&n, &n2, &n3}) {
      if (rows->value >= 0) bounded(*rows, 0);
    }
    args.m = bounded(m, 0, kMostGemmRows);
    call.run(&Backend::skinny_gemm, args);
  });
}

espalier_status espalier_rope_and_append(
    espalier_context* ctx, espalier_buffer* q, const espalier_buffer* k, const espalier_buffer* v,
    const espalier_buffer* q_norm, const espalier_buffer* k_norm, float eps,
    const espalier_buffer* cos_sin, const espalier_buffer* slot, espalier_buffer* k_cache,
    espalier_buffer* v_cache) {
  return guarded("espalier_rope_and_append", [&] {
    const OpCall call(ctx);
    Dim rows{"rows"}, num_q_heads{"num_q_heads"};
    Cache cache;
    cache.check(call, k_cache, v_cache);
    RopeAndAppendArgs args{};
    args.q = call.data<float>(q, "q", Kind::kFp32, {&rows, &num_q_heads, &cache.head_dim});
    args.k = call.data<float>(k, "k", Kind::kFp32, {&rows, &cache.heads, &cache.head_dim});
    args.v = call.data<float>(v, "v", Kind::kFp32, {&rows, &cache.heads, &cache.head_dim});
    args.head_dim = bounded(cache.head_dim, 2, kMostRopeDim);
    if (cache.head_dim.value % 2 != 0) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "head_dim = %lld, expected an even number",
          ll{cache.head_dim.value});
    }
    args.q_norm = norm_of(call, q_norm, "q_norm", &cache.head_dim, eps);
    args.k_norm = norm_of(call, k_norm, "k_norm", &cache.head_dim, eps);
    args.rows = bounded(rows, 0);
    check_product(
        "rows * (num_q_heads + 2 * num_kv_heads)", rows.value,
        num_q_heads.value + 2 * cache.heads.value);
    Dim two{"2", 2}, half{"head_dim / 2", cache.head_dim.value / 2};
    args.cos_sin = call.data<float>(cos_sin, "cos_sin", Kind::kFp32, {&rows, &two, &half});
    args.slot = call.data<int32_t>(slot, "slot", Kind::kInt, {&rows});
    std::vector<int32_t> slots = call.contents(slot);
    check_all(slots, "slot", 0, cache.slots(), "num_pages * page_size");
    std::sort(slots.begin(), slots.end());
    const auto twice = std::adjacent_find(slots.begin(), slots.end());
    if (twice != slots.end()) {
      fail(ESPALIER_INVALID_ARGUMENT, "slot = %d twice, expected all different", *twice);
    }
    const auto check_out = [&](espalier_buffer* written, const char* name) {
      check_apart(
          written, name,
          {{k, "k"},
           {v, "v"},
           {q_norm, "q_norm"},
           {k_norm, "k_norm"},
           {cos_sin, "cos_sin"},
           {slot, "slot"}});
    };
    check_out(q, "q");
    check_out(k_cache, "k_cache");
    check_out(v_cache, "v_cache");
    check_apart(q, "q", {{k_cache, "k_cache"}, {v_cache, "v_cache"}});
    check_apart(k_cache, "k_cache", {{v_cache, "v_cache"}});
    args.k_cache = cache.k;
    args.v_cache = cache.v;
    args.kv_type = cache.type;
    args.num_q_heads = bounded(num_q_heads, 0);
    args.num_kv_heads = bounded(cache.heads, 1);
    call.run(&Backend::rope_and_append, args);
  });
}

espalier_status espalier_tree_attention(
    espalier_context* ctx, const espalier_buffer* q, const espalier_buffer* k_cache,
    const espalier_buffer* v_cache, const espalier_buffer* page_table,
    const espalier_buffer* kv_len, const espalier_buffer* row_seq, const espalier_buffer* depth,
    const espalier_buffer* ancestor_slot, float scale, int32_t window, float soft_cap,
    espalier_buffer* out) {
  return guarded("espalier_tree_attention", [&] {
    const OpCall call(ctx);
    Dim rows{"rows"}, num_q_heads{"num_q_heads"}, batch{"batch"}, max_pages{"max_pages"},
        max_depth{"max_depth"};
    Cache cache;
    cache.check(call, k_cache, v_cache);
    TreeAttentionArgs args{};
    args.q = call.data<float>(q, "q", Kind::kFp32, {&rows, &num_q_heads, &cache.head_dim});
    args.page_table =
        call.data<int32_t>(page_table, "page_table", Kind::kInt, {&batch, &max_pages});
    args.kv_len = call.data<int32_t>(kv_len, "kv_len", Kind::kInt, {&batch});
    args.row_seq = call.data<int32_t>(row_seq, "row_seq", Kind::kInt, {&rows});
    args.depth = call.data<int32_t>(depth, "depth", Kind::kInt, {&rows});
    args.ancestor_slot =
        call.data<int32_t>(ancestor_slot, "ancestor_slot", Kind::kInt, {&rows, &max_depth});
    args.out = call.data<float>(out, "out", Kind::kFp32, {&rows, &num_q_heads, &cache.head_dim});
    args.rows = bounded(rows, 0);
    args.num_q_heads = bounded(num_q_heads, 1, kMostHeads);
    args.num_kv_heads = bounded(cache.heads, 1);
    check_product("rows * num_q_heads", rows.value, num_q_heads.value);
    if (args.num_q_heads % args.num_kv_heads != 0) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "num_q_heads = %d, expected a multiple of num_kv_heads = %d",
          args.num_q_heads, args.num_kv_heads);
    }
    args.head_dim = bounded(cache.head_dim, 1);
    args.num_pages = static_cast<int32_t>(cache.pages.value);
    args.page_size = bounded(cache.page_size, 1);
    args.max_pages = bounded(max_pages, 0);
    args.max_depth = bounded(max_depth, 0);
    const int64_t positions = max_pages.value * cache.page_size.value + max_depth.value;
    if (positions > kMostPositions) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "max_pages * page_size + max_depth = %lld, expected at most %d", ll{positions},
          kMostPositions);
    }
    args.batch = bounded(batch, 0);
    if (!std::isfinite(scale)) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "scale = %g, expected a finite number",
          static_cast<double>(scale));
    }
    if (window < 0)
      fail(ESPALIER_INVALID_ARGUMENT, "window = %d, expected >= 0; 0 is for all positions", window);
    if (!std::isfinite(soft_cap) || soft_cap < 0) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "soft_cap = %g, expected a finite number >= 0",
          static_cast<double>(soft_cap));
    }
    if (call.on_cpu()) {
      check_all(
          call.contents(kv_len), "kv_len", 0, max_pages.value * cache.page_size.value + 1,
          "1 + max_pages * page_size");
      for (int64_t s = 0; s < batch.value; ++s) {
        const int64_t pages = (int64_t{args.kv_len[s]} + args.page_size - 1) / args.page_size;
        for (int64_t i = s * max_pages.value; i < s * max_pages.value + pages; ++i) {
          check_range(
              "page_table", static_cast<size_t>(i), args.page_table[i], 0, cache.pages.value,
              "num_pages");
        }
      }
      check_all(call.contents(row_seq), "row_seq", 0, batch.value, "batch");
      check_all(call.contents(depth), "depth", 0, max_depth.value, "max_depth");
      for (int64_t r = 0; r < rows.value; ++r) {
        for (int64_t i = r * max_depth.value; i <= r * max_depth.value + args.depth[r]; ++i) {
          check_range(
              "ancestor_slot", static_cast<size_t>(i), args.ancestor_slot[i], 0, cache.slots(),
              "num_pages * page_size");
        }
      }
    }
    check_apart(
        out, "out",
        {{q, "q"},
         {k_cache, "k_cache"},
         {v_cache, "v_cache"},
         {page_table, "page_table"},
         {kv_len, "kv_len"},
         {row_seq, "row_seq"},
         {depth, "depth"},
         {ancestor_slot, "ancestor_slot"}});
    args.k_cache = cache.k;
    args.v_cache = cache.v;
    args.kv_type = cache.type;
    args.scale = scale;
    args.window = window;
    args.soft_cap = soft_cap;
    call.run(&Backend::tree_attention, args);
  });
}

espalier_status espalier_top_k(
    espalier_context* ctx, const espalier_buffer* x, espalier_buffer* idx, espalier_buffer* value) {
  return guarded("espalier_top_k", [&] {
    const OpCall call(ctx);
    Dim rows{"rows"}, vocab{"vocab"}, k{"k"};
    TopKArgs args{};
    args.x = call.data<float>(x, "x", Kind::kFp32, {&rows, &vocab});
    args.idx = call.data<int32_t>(idx, "idx", Kind::kInt, {&rows, &k});
    args.value = call.data<float>(value, "value", Kind::kFp32, {&rows, &k});
    args.vocab = bounded(vocab, 1, kMostVocab);
    args.k = bounded(k, 1, std::min(kMostBest, args.vocab));
    check_apart(idx, "idx", {{x, "x"}, {value, "value"}});
    check_apart(value, "value", {{x, "x"}});
    args.rows = bounded(rows, 0);
    call.run(&Backend::top_k, args);
  });
}

espalier_status espalier_sample(
    espalier_context* ctx, const espalier_buffer* logits, const espalier_buffer* history,
    const espalier_buffer* history_begin, const espalier_buffer* position,
    const espalier_sampling* sampling, int32_t noise, espalier_buffer* token,
    espalier_buffer* prob) {
  return guarded("espalier_sample", [&] {
    const OpCall call(ctx);
    Dim rows{"rows"}, vocab{"vocab"}, k{"k"}, history_len{"history_len"};
    SampleArgs args{};
    args.logits = call.data<float>(logits, "logits", Kind::kFp32, {&rows, &vocab});
    args.history = call.data<int32_t>(history, "history", Kind::kInt, {&history_len});
    Dim begins{"rows + 1", rows.value + 1};
    args.history_begin = call.data<int32_t>(history_begin, "history_begin", Kind::kInt, {&begins});
    args.position = call.data<int32_t>(position, "position", Kind::kInt, {&rows});
    need(sampling, "sampling");
    check_sampling(*sampling);
    if (noise != ESPALIER_TARGET_NOISE && noise != ESPALIER_DRAFT_NOISE) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "noise = %d, expected ESPALIER_TARGET_NOISE (0) or ESPALIER_DRAFT_NOISE (1)", noise);
    }
    args.token = call.data<int32_t>(token, "token", Kind::kInt, {&rows, &k});
    args.prob = call.optional<float>(prob, "prob", Kind::kFp32, {&rows, &vocab});
    args.vocab = bounded(vocab, 1, kMostVocab);
    args.k = bounded(k, 1, std::min(kMostBest, args.vocab));
    args.rows = bounded(rows, 0);
    bounded(history_len, 0, kMostNodes);
    if (call.on_cpu()) {
      check_all(call.contents(history), "history", 0, vocab.value, "vocab");
      const std::vector<int32_t> begin = call.contents(history_begin);
      check_all(begin, "history_begin", 0, history_len.value + 1, "history_len + 1");
      for (size_t r = 0; r + 1 < begin.size(); ++r) {
        if (begin[r] > begin[r + 1]) {
          fail(
              ESPALIER_INVALID_ARGUMENT,
              "history_begin[%zu] = %d, expected at least history_begin[%zu] = %d", r + 1,
              begin[r + 1], r, begin[r]);
        }
      }
      check_all(call.contents(position), "position", 0, INT32_MAX, "the largest position");
    }
    check_apart(
        token, "token",
        {{logits, "logits"},
         {history, "history"},
         {history_begin, "history_begin"},
         {position, "position"},
         {prob, "prob"}});
    check_apart(
        prob, "prob",
        {{logits, "logits"},
         {history, "history"},
         {history_begin, "history_begin"},
         {position, "position"}});
    const std::vector<espalier_sampling> samplings(static_cast<size_t>(rows.value), *sampling);
    const size_t bad_bytes = samplings.size() * sizeof(int32_t),
                 sampling_bytes = samplings.size() * sizeof(espalier_sampling);
    const Memory bad(call.device(), std::max<size_t>(bad_bytes, 1)),
        laws(call.device(), std::max<size_t>(sampling_bytes, 1));
    call.backend().upload(laws.as<void>(), samplings.data(), sampling_bytes);
    args.sampling = laws.as<espalier_sampling>();
    args.filtered = has_filters(*sampling);
    args.noise = noise;
    args.bad = bad.as<int32_t>();
    call.run(&Backend::sample, args);
    std::vector<int32_t> is_bad(samplings.size());
    call.backend().download(is_bad.data(), args.bad, bad_bytes);
    check(call.backend());
    const auto first = std::find_if(is_bad.begin(), is_bad.end(), [](int32_t b) { return b != 0; });
    if (first != is_bad.end()) {
      fail(
          ESPALIER_NOT_A_NUMBER,
          "logits of row %lld = NaN, +inf or nothing finite, expected numbers",
          ll{first - is_bad.begin()});
    }
  });
}

espalier_status espalier_verify(
    espalier_context* ctx, const espalier_buffer* tree_begin, const espalier_buffer* token,
    const espalier_buffer* parent, const espalier_buffer* choice, espalier_buffer* path,
    espalier_buffer* accept_len) {
  return guarded("espalier_verify", [&] {
    const OpCall call(ctx);
    Dim nodes{"num_nodes"}, batch{"batch"};
    VerifyArgs args{};
    args.token = call.data<int32_t>(token, "token", Kind::kInt, {&nodes});
    args.parent = call.data<int32_t>(parent, "parent", Kind::kInt, {&nodes});
    args.choice = call.data<int32_t>(choice, "choice", Kind::kInt, {&nodes});
    args.path = call.data<int32_t>(path, "path", Kind::kInt, {&nodes});
    args.accept_len = call.data<int32_t>(accept_len, "accept_len", Kind::kInt, {&batch});
    Dim begins{"batch + 1", batch.value + 1};
    args.tree_begin = call.data<int32_t>(tree_begin, "tree_begin", Kind::kInt, {&begins});
    bounded(nodes, 0, kMostNodes);
    args.batch = bounded(batch, 0, kMostNodes);
    check_trees(call.contents(tree_begin), call.contents(parent));
    check_apart(
        path, "path",
        {{tree_begin, "tree_begin"},
         {token, "token"},
         {parent, "parent"},
         {choice, "choice"},
         {accept_len, "accept_len"}});
    check_apart(
        accept_len, "accept_len",
        {{tree_begin, "tree_begin"}, {token, "token"}, {parent, "parent"}, {choice, "choice"}});
    call.run(&Backend::verify, args);
  });
}

espalier_status espalier_verify_sampling(
    espalier_context* ctx, const espalier_buffer* tree_begin, const espalier_buffer* token,
    const espalier_buffer* parent, const espalier_buffer* p, const espalier_buffer* scheme,
    const espalier_buffer* q, const espalier_buffer* q_row, const espalier_buffer* position,
    const espalier_buffer* seed, espalier_buffer* path, espalier_buffer* accept_len,
    espalier_buffer* bonus) {
  return guarded("espalier_verify_sampling", [&] {
    const OpCall call(ctx);
    Dim nodes{"num_nodes"}, batch{"batch"}, vocab{"vocab"}, rows{"rows"}, two{"2", 2};
    VerifySamplingArgs args{};
    args.token = call.data<int32_t>(token, "token", Kind::kInt, {&nodes});
    args.parent = call.data<int32_t>(parent, "parent", Kind::kInt, {&nodes});
    args.p = call.data<float>(p, "p", Kind::kFp32, {&nodes, &vocab});
    args.scheme = call.data<int32_t>(scheme, "scheme", Kind::kInt, {&nodes});
    args.q = call.optional<float>(q, "q", Kind::kFp32, {&rows, &vocab});
    if (q == nullptr) rows.value = 0;
    args.q_row = call.data<int32_t>(q_row, "q_row", Kind::kInt, {&nodes});
    args.position = call.data<int32_t>(position, "position", Kind::kInt, {&batch});
    args.seed = call.data<uint64_t>(seed, "seed", Kind::kU64, {&batch, &two});
    args.path = call.data<int32_t>(path, "path", Kind::kInt, {&nodes});
    args.accept_len = call.data<int32_t>(accept_len, "accept_len", Kind::kInt, {&batch});
    args.bonus = call.data<int32_t>(bonus, "bonus", Kind::kInt, {&batch});
    Dim begins{"batch + 1", batch.value + 1};
    args.tree_begin = call.data<int32_t>(tree_begin, "tree_begin", Kind::kInt, {&begins});
    bounded(nodes, 0, kMostNodes);
    args.batch = bounded(batch, 0, kMostNodes);
    args.vocab = bounded(vocab, 1, kMostVocab);
    if (call.on_cpu()) {
      const std::vector<int32_t> parents = call.contents(parent), schemes = call.contents(scheme);
      const std::vector<int32_t> begin = call.contents(tree_begin);
      check_trees(begin, parents);
      check_all(schemes, "scheme", 0, 3, "number of schemes");
      check_all(
          call.contents(position), "position", 0, INT32_MAX - nodes.value,
          "the largest position - num_nodes");
      for (size_t b = 0; b + 1 < begin.size(); ++b) {
        for (int32_t i = begin[b] + 1; i < begin[b + 1]; ++i) {
          check_range("token", i, args.token[i], 0, vocab.value, "vocab");
          const int32_t drafted_after = begin[b] + parents[i];
          if (schemes[drafted_after] == ESPALIER_POINT_MASS) continue;
          check_range("q_row", drafted_after, args.q_row[drafted_after], 0, rows.value, "rows");
        }
      }
    }
    using Others = std::initializer_list<std::pair<const espalier_buffer*, const char*>>;
    const Others inputs = {
        {tree_begin, "tree_begin"},
        {token, "token"},
        {parent, "parent"},
        {p, "p"},
        {scheme, "scheme"},
        {q, "q"},
        {q_row, "q_row"},
        {position, "position"},
        {seed, "seed"}};
    check_apart(path, "path", inputs);
    check_apart(accept_len, "accept_len", inputs);
    check_apart(bonus, "bonus", inputs);
    check_apart(path, "path", {{accept_len, "accept_len"}, {bonus, "bonus"}});
    check_apart(accept_len, "accept_len", {{bonus, "bonus"}});
    call.run(&Backend::verify_sampling, args);
  });
}

espalier_status espalier_commit_kv(
    espalier_context* ctx, const espalier_buffer* from, const espalier_buffer* to,
    int32_t num_layers, espalier_buffer* k_cache, espalier_buffer* v_cache) {
  return guarded("espalier_commit_kv", [&] {
    const OpCall call(ctx);
    Dim moves{"num_moves"};
    Cache cache;
    cache.check(call, k_cache, v_cache);
    if (num_layers > kMostLayers) {
      fail(ESPALIER_INVALID_ARGUMENT, "num_layers = %d, expected 1 to %d", num_layers, kMostLayers);
    }
    if (num_layers < 1 || cache.pages.value % num_layers != 0) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "num_layers = %d, expected a divisor of the %lld pages of k_cache", num_layers,
          ll{cache.pages.value});
    }
    CommitKvArgs args{};
    args.from = call.data<int32_t>(from, "from", Kind::kInt, {&moves});
    args.to = call.data<int32_t>(to, "to", Kind::kInt, {&moves});
    args.num_moves = bounded(moves, 0);
    args.num_slots = cache.slots() / num_layers;
    check_all(call.contents(from), "from", 0, args.num_slots, "slots of a layer");
    check_all(call.contents(to), "to", 0, args.num_slots, "slots of a layer");
    check_apart(k_cache, "k_cache", {{from, "from"}, {to, "to"}, {v_cache, "v_cache"}});
    check_apart(v_cache, "v_cache", {{from, "from"}, {to, "to"}});
    args.k_cache = cache.k;
    args.v_cache = cache.v;
    args.num_layers = num_layers;
    args.row_bytes = cache.heads.value * cache.head_dim.value * type_bytes(cache.type);
    call.run(&Backend::commit_kv, args);
  });
}

espalier_status espalier_recycle_fill(
    espalier_context* ctx, const espalier_buffer* table, const espalier_buffer* parent,
    const espalier_buffer* rank, const espalier_buffer* root, espalier_buffer* token) {
  return guarded("espalier_recycle_fill", [&] {
    const OpCall call(ctx);
    Dim vocab{"vocab"}, k{"k"}, tree_len{"tree_len"}, batch{"batch"};
    RecycleFillArgs args{};
    args.table = call.data<int32_t>(table, "table", Kind::kInt, {&vocab, &k});
    args.parent = call.data<int32_t>(parent, "parent", Kind::kInt, {&tree_len});
    args.rank = call.data<int32_t>(rank, "rank", Kind::kInt, {&tree_len});
    args.root = call.data<int32_t>(root, "root", Kind::kInt, {&batch});
    args.vocab = bounded(vocab, 1);
    args.k = bounded(k, 1, kMostBest);
    args.tree_len = bounded(tree_len, 1, kMostNodes);
    args.batch = bounded(batch, 0, kMostNodes);
    Dim nodes{"batch * tree_len", batch.value * tree_len.value};
    args.token = call.data<int32_t>(token, "token", Kind::kInt, {&nodes});
    const std::vector<int32_t> parents = call.contents(parent), ranks = call.contents(rank);
    check_parents(parents, 0, static_cast<int64_t>(parents.size()));
    for (size_t i = 1; i < ranks.size(); ++i) check_range("rank", i, ranks[i], 0, k.value, "k");
    check_all(call.contents(root), "root", -1, vocab.value, "vocab");
    check_apart(
        token, "token", {{table, "table"}, {parent, "parent"}, {rank, "rank"}, {root, "root"}});
    call.run(&Backend::recycle_fill, args);
  });
}

espalier_status espalier_recycle_update(
    espalier_context* ctx, const espalier_buffer* tree_begin, const espalier_buffer* token,
    const espalier_buffer* path, const espalier_buffer* accept_len, const espalier_buffer* top,
    espalier_buffer* table) {
  return guarded("espalier_recycle_update", [&] {
    const OpCall call(ctx);
    Dim nodes{"num_nodes"}, batch{"batch"}, vocab{"vocab"}, k{"k"};
    RecycleUpdateArgs args{};
    args.token = call.data<int32_t>(token, "token", Kind::kInt, {&nodes});
    args.path = call.data<int32_t>(path, "path", Kind::kInt, {&nodes});
    args.accept_len = call.data<int32_t>(accept_len, "accept_len", Kind::kInt, {&batch});
    args.top = call.data<int32_t>(top, "top", Kind::kInt, {&nodes, &k});
    args.table = call.data<int32_t>(table, "table", Kind::kInt, {&vocab, &k});
    Dim begins{"batch + 1", batch.value + 1};
    args.tree_begin = call.data<int32_t>(tree_begin, "tree_begin", Kind::kInt, {&begins});
    args.num_nodes = bounded(nodes, 0, kMostNodes);
    args.batch = bounded(batch, 0, kMostNodes);
    args.vocab = bounded(vocab, 1);
    args.k = bounded(k, 1, kMostBest);
    if (call.on_cpu()) {
      check_begins(call.contents(tree_begin), nodes.value);
      check_all(call.contents(token), "token", -1, vocab.value, "vocab");
      check_all(call.contents(top), "top", 0, vocab.value, "vocab");
      for (int32_t b = 0; b < args.batch; ++b) {
        const int32_t first = args.tree_begin[b], tree_len = args.tree_begin[b + 1] - first;
        check_range("accept_len", b, args.accept_len[b], 0, tree_len, "nodes of the tree");
        for (int32_t i = first; i < first + args.accept_len[b]; ++i) {
          check_range("path", i, args.path[i], 1, tree_len, "nodes of the tree");
        }
      }
    }
    check_apart(
        table, "table",
        {{tree_begin, "tree_begin"},
         {token, "token"},
         {path, "path"},
         {accept_len, "accept_len"},
         {top, "top"}});
    call.run(&Backend::recycle_update, args);
  });
}
