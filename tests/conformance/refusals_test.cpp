// What every op refuses, argument by argument, on every device: NULL, another type, another shape, memory of another or of
// a closed context. Nothing is launched then, and no buffer changes. Rules of single arguments are in the op's own test.
#include <algorithm>
#include <functional>
#include <memory>

#include "check.h"
#include "ops.h"
#include "ops/ops.h"

namespace {

using namespace ops;
using Ints = std::vector<int32_t>;

enum class Kind { kFp32, kFloat, kInt, kU64 };

constexpr const char* kTypeNames[] = {"fp32", "bf16", "fp16", "i32", "u64"};
constexpr int kTypeBytes[] = {4, 2, 2, 4, 8};

const char* rule_of(Kind kind) {
  static const char* const rules[] = {"fp32", "fp32, bf16 or fp16", "i32", "u64"};
  return rules[static_cast<int>(kind)];
}
bool fits(Kind kind, int32_t type) {
  return kind == Kind::kInt ? type == ESPALIER_I32
         : kind == Kind::kU64
             ? type == ESPALIER_U64
             : type == ESPALIER_FP32 || (kind == Kind::kFloat && type < ESPALIER_I32);
}

/** A buffer of a good call. */
struct Argument {
  const char* name;
  Kind kind;
  Shape shape;
  Ints values = {};            // of integers; zeros without
  bool optional = false;       // NULL is another call
  std::vector<int> free = {};  // axes whose length is this buffer's own business
};

using Buffers = std::vector<espalier_buffer*>;
using Call = std::function<espalier_status(espalier_context*, const Buffers&)>;

int32_t good_type(Kind kind) {
  return kind == Kind::kInt     ? ESPALIER_I32
         : kind == Kind::kU64   ? ESPALIER_U64
         : kind == Kind::kFloat ? ESPALIER_BF16
                                : ESPALIER_FP32;
}

/** The arguments of a call, and what they hold. */
class Op {
 public:
  Op(const Context& ctx, std::string name, std::vector<Argument> arguments, Call call)
      : ctx_(ctx),
        name_(std::move(name)),
        arguments_(std::move(arguments)),
        call_(std::move(call)) {
    for (const Argument& a : arguments_) {
      good_.push_back(made(a.kind, a.shape));
      const Ints& v = a.values;
      if (!v.empty()) ok(espalier_buffer_write(good_.back(), v.data(), bytes(v.size() * 4)));
    }
  }
  ~Op() {
    for (espalier_buffer* b : good_) espalier_buffer_destroy(b);
  }
  Op(const Op&) = delete;

  /** Makes the good call, then every bad one. */
  void check() {
    const int64_t at_first = launches();
    ok(call_(ctx_, good_));
    const int64_t before = launches();
    CHECK_MSG(before < 0 || before > at_first, "%s: nothing launched", name_.c_str());
    std::vector<std::vector<char>> held;
    for (size_t i = 0; i < good_.size(); ++i) held.push_back(read(i));
    refused(
        call_(nullptr, good_), ESPALIER_INVALID_ARGUMENT,
        name_ + ": ctx = NULL, expected a pointer");
    for (size_t i = 0; i < good_.size(); ++i) {
      if (!arguments_[i].optional) refuses(i, nullptr, " = NULL, expected a pointer", "");
      check_types(i);
      check_shapes(i);
      check_contexts(i);
    }
    CHECK_MSG(launches() == before, "%s: a refused call launched a kernel", name_.c_str());
    for (size_t i = 0; i < good_.size(); ++i) {
      CHECK_MSG(read(i) == held[i], "%s: %s changed", name_.c_str(), arguments_[i].name);
    }
  }

 private:
  static int64_t bytes(size_t n) { return static_cast<int64_t>(n); }

  espalier_buffer* made(const Context& ctx, int32_t type, const Shape& shape) const {
    espalier_buffer* buffer = nullptr;
    ok(espalier_buffer_create(
        ctx, type, static_cast<int32_t>(shape.size()), shape.data(), &buffer));
    return buffer;
  }
  espalier_buffer* made(Kind kind, const Shape& shape) const {
    return made(ctx_, good_type(kind), shape);
  }

  int64_t launches() const {
    ok(espalier_synchronize(ctx_));  // what was enqueued runs now
    return espalier_test::num_blocks();
  }

  std::vector<char> read(size_t i) const {
    size_t n = static_cast<size_t>(kTypeBytes[good_type(arguments_[i].kind)]);
    for (const int64_t axis : arguments_[i].shape) n *= static_cast<size_t>(axis);
    std::vector<char> data(n);
    ok(espalier_buffer_read(good_[i], data.data(), bytes(n)));
    return data;
  }

  /** With `bad` as argument i the text is `op: before name after`; `after` may leave out the rest. */
  void refuses(
      size_t i, espalier_buffer* bad, const std::string& after, const std::string& before) {
    Buffers buffers = good_;
    buffers[i] = bad;
    CHECK_EQ(call_(ctx_, buffers), ESPALIER_INVALID_ARGUMENT);
    const std::string text = espalier_last_error(),
                      want = name_ + ": " + before + arguments_[i].name + after;
    CHECK_MSG(
        text.compare(0, want.size(), want) == 0, "\"%s\", expected \"%s\"", text.c_str(),
        want.c_str());
  }
  void refuses_and_destroys(
      size_t i, espalier_buffer* bad, const std::string& after, const std::string& before) {
    refuses(i, bad, after, before);
    espalier_buffer_destroy(bad);
  }

  void check_types(size_t i) {
    const Argument& a = arguments_[i];
    for (int32_t type = ESPALIER_FP32; type <= ESPALIER_U64; ++type) {
      if (fits(a.kind, type)) continue;
      refuses_and_destroys(
          i, made(ctx_, type, a.shape),
          std::string(" = ") + kTypeNames[type] + ", expected " + rule_of(a.kind), "type of ");
    }
  }

  void check_shapes(size_t i) {
    const Argument& a = arguments_[i];
    Shape deeper = a.shape;
    if (deeper.size() < 4) {
      deeper.push_back(1);
    } else {
      deeper.pop_back();
    }
    refuses_and_destroys(
        i, made(a.kind, deeper),
        " = " + std::to_string(deeper.size()) + ", expected " + std::to_string(a.shape.size()) +
            ": [",
        "rank of ");
    for (size_t axis = 0; axis < a.shape.size(); ++axis) {
      if (std::count(a.free.begin(), a.free.end(), static_cast<int>(axis)) > 0) continue;
      Shape longer = a.shape;
      ++longer[axis];
      Buffers buffers = good_;
      buffers[i] = made(a.kind, longer);
      const espalier_status status = call_(ctx_, buffers);
      // The argument that disagrees is the one that is looked at later: this one or another.
      const std::string text = status == ESPALIER_OK ? "" : espalier_last_error();
      CHECK_MSG(
          status == ESPALIER_INVALID_ARGUMENT && text.find(name_ + ": ") == 0 &&
              text.find(" of ") != std::string::npos &&
              text.find(", expected ") != std::string::npos,
          "%s, axis %zu of %s = %lld: status %d, \"%s\"", name_.c_str(), axis, a.name,
          static_cast<long long>(longer[axis]), status, text.c_str());
      espalier_buffer_destroy(buffers[i]);
    }
  }

  void check_contexts(size_t i) {
    const Argument& a = arguments_[i];
    const std::string after = " = another one, expected ctx";
    const Context other(1);
    refuses_and_destroys(i, made(other, good_type(a.kind), a.shape), after, "context of ");
    espalier_buffer* orphan = nullptr;
    {
      const Context closed(1);
      orphan = made(closed, good_type(a.kind), a.shape);
    }
    refuses_and_destroys(i, orphan, after, "context of ");
  }

  const Context& ctx_;
  std::string name_;
  std::vector<Argument> arguments_;
  Call call_;
  Buffers good_;
};

/** A buffer of any size whose memory is not there: for calls that are refused before they look at it. */
class Nowhere {
 public:
  explicit Nowhere(const Context& ctx) : ctx_(ctx) {}
  ~Nowhere() {
    for (espalier_buffer* b : buffers_) espalier_buffer_destroy(b);
  }
  Nowhere(const Nowhere&) = delete;

  espalier_buffer* at(int64_t offset, int32_t type, const Shape& shape) {
    espalier_buffer* buffer = nullptr;
    const auto apart = static_cast<int64_t>(buffers_.size() + 1) << 44;
    ok(espalier_buffer_wrap(
        ctx_, reinterpret_cast<void*>(apart + offset), type, static_cast<int32_t>(shape.size()),
        shape.data(), &buffer));
    return buffers_.emplace_back(buffer);
  }
  espalier_buffer* fp32(const Shape& shape) { return at(0, ESPALIER_FP32, shape); }
  espalier_buffer* bf16(const Shape& shape) { return at(0, ESPALIER_BF16, shape); }
  espalier_buffer* ints(const Shape& shape) { return at(0, ESPALIER_I32, shape); }

 private:
  const Context& ctx_;
  std::vector<espalier_buffer*> buffers_;
};

espalier_sampling greedy() {
  espalier_sampling s{};
  s.size = sizeof s;
  s.top_p = s.repetition_penalty = 1;
  return s;
}

/** Checks that nothing was launched by `body`, and that the device goes on afterwards. */
void check_goes_on(const Context& ctx, const std::function<void()>& body) {
  ok(espalier_synchronize(ctx));
  const int64_t before = espalier_test::num_blocks();
  body();
  ok(espalier_synchronize(ctx));
  CHECK_EQ(espalier_test::num_blocks(), before);
  Buffer x(ctx, {1, 3}, std::vector<float>{1, 3, 2}), idx(ctx, ESPALIER_I32, {1, 1}),
      value(ctx, ESPALIER_FP32, {1, 1});
  ok(espalier_top_k(ctx, x, idx, value));
  CHECK_EQ(idx.read<int32_t>(1)[0], 1);
}

constexpr Kind kFp32 = Kind::kFp32, kFloat = Kind::kFloat, kInt = Kind::kInt, kU64 = Kind::kU64;

}  // namespace

TEST(embed) {
  const Context ctx;
  Op(ctx, "espalier_embed",
     {{"table", kFloat, {5, 8}, {}, false, {0}}, {"token", kInt, {2}}, {"out", kFp32, {2, 8}}},
     [](espalier_context* c, const Buffers& b) { return espalier_embed(c, b[0], b[1], b[2]); })
      .check();
}

TEST(rms_norm) {
  const Context ctx;
  Op(ctx, "espalier_rms_norm",
     {{"x", kFp32, {2, 8}}, {"weight", kFloat, {8}}, {"out", kFp32, {2, 8}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_rms_norm(c, b[0], b[1], 1e-5f, b[2]);
     })
      .check();
}

TEST(skinny_gemm) {
  const Context ctx;
  Op(ctx, "espalier_skinny_gemm",
     {{"x", kFp32, {2, 8}},
      {"norm", kFloat, {8}, {}, true},
      {"w", kFloat, {3, 8}},
      {"bias", kFloat, {3}, {}, true},
      {"out", kFp32, {2, 3}},
      {"w2", kFloat, {4, 8}, {}, true},
      {"bias2", kFloat, {4}, {}, true},
      {"out2", kFp32, {2, 4}},
      {"w3", kFloat, {5, 8}, {}, true},
      {"bias3", kFloat, {5}, {}, true},
      {"out3", kFp32, {2, 5}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_skinny_gemm(
           c, b[0], b[1], 1e-5f, b[2], b[3], nullptr, nullptr, nullptr, b[4], b[5], b[6], b[7],
           b[8], b[9], b[10]);
     })
      .check();
  Op(ctx, "espalier_skinny_gemm",
     {{"x", kFp32, {2, 8}},
      {"w", kFloat, {3, 8}},
      {"up", kFloat, {3, 8}, {}, true},
      {"up_bias", kFloat, {3}, {}, true},
      {"out", kFp32, {2, 3}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_skinny_gemm(
           c, b[0], nullptr, 0, b[1], nullptr, b[2], b[3], nullptr, b[4], nullptr, nullptr, nullptr,
           nullptr, nullptr, nullptr);
     })
      .check();
  Op(ctx, "espalier_skinny_gemm",
     {{"x", kFp32, {2, 8}},
      {"w", kFloat, {3, 8}},
      {"residual", kFp32, {2, 3}, {}, true},
      {"out", kFp32, {2, 3}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_skinny_gemm(
           c, b[0], nullptr, 0, b[1], nullptr, nullptr, nullptr, b[2], b[3], nullptr, nullptr,
           nullptr, nullptr, nullptr, nullptr);
     })
      .check();
}

TEST(rope_and_append) {
  const Context ctx;
  Op(ctx, "espalier_rope_and_append",
     {{"q", kFp32, {2, 4, 8}, {}, false, {1}},
      {"k", kFp32, {2, 2, 8}},
      {"v", kFp32, {2, 2, 8}},
      {"q_norm", kFloat, {8}, {}, true},
      {"k_norm", kFloat, {8}, {}, true},
      {"cos_sin", kFp32, {2, 2, 4}},
      {"slot", kInt, {2}, {1, 0}},
      {"k_cache", kFloat, {3, 16, 2, 8}},
      {"v_cache", kFloat, {3, 16, 2, 8}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_rope_and_append(
           c, b[0], b[1], b[2], b[3], b[4], 1e-5f, b[5], b[6], b[7], b[8]);
     })
      .check();
}

TEST(tree_attention) {
  const Context ctx;
  Op(ctx, "espalier_tree_attention",
     {{"q", kFp32, {2, 4, 8}},
      {"k_cache", kFloat, {3, 16, 2, 8}},
      {"v_cache", kFloat, {3, 16, 2, 8}},
      {"page_table", kInt, {1, 2}, {}, false, {1}},
      {"kv_len", kInt, {1}, {3}},
      {"row_seq", kInt, {2}},
      {"depth", kInt, {2}, {0, 1}},
      {"ancestor_slot", kInt, {2, 2}, {3, 0, 3, 4}, false, {1}},
      {"out", kFp32, {2, 4, 8}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_tree_attention(
           c, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], 1, 0, 0, b[8]);
     })
      .check();
}

TEST(top_k) {
  const Context ctx;
  Op(ctx, "espalier_top_k",
     {{"x", kFp32, {2, 9}, {}, false, {1}}, {"idx", kInt, {2, 3}}, {"value", kFp32, {2, 3}}},
     [](espalier_context* c, const Buffers& b) { return espalier_top_k(c, b[0], b[1], b[2]); })
      .check();
}

TEST(sample) {
  const Context ctx;
  const espalier_sampling sampling = greedy();
  const auto call = [&](espalier_context* c, const Buffers& b) {
    return espalier_sample(c, b[0], b[1], b[2], b[3], &sampling, ESPALIER_TARGET_NOISE, b[4], b[5]);
  };
  Op(ctx, "espalier_sample",
     {{"logits", kFp32, {2, 9}},
      {"history", kInt, {3}, {}, false, {0}},
      {"history_begin", kInt, {3}, {0, 1, 3}},
      {"position", kInt, {2}},
      {"token", kInt, {2, 3}, {}, false, {1}},
      {"prob", kFp32, {2, 9}, {}, true}},
     call)
      .check();
  Buffer logits(ctx, ESPALIER_FP32, {1, 4}), history(ctx, ESPALIER_I32, {0}),
      begin(ctx, ESPALIER_I32, {2}), position(ctx, ESPALIER_I32, {1}),
      token(ctx, ESPALIER_I32, {1, 1});
  refused(
      espalier_sample(ctx, logits, history, begin, position, nullptr, 0, token, nullptr),
      ESPALIER_INVALID_ARGUMENT, "espalier_sample: sampling = NULL, expected a pointer");
}

TEST(verify) {
  const Context ctx;
  Op(ctx, "espalier_verify",
     {{"tree_begin", kInt, {3}, {0, 1, 3}},
      {"token", kInt, {3}},
      {"parent", kInt, {3}, {-1, -1, 0}},
      {"choice", kInt, {3}},
      {"path", kInt, {3}},
      {"accept_len", kInt, {2}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_verify(c, b[0], b[1], b[2], b[3], b[4], b[5]);
     })
      .check();
}

TEST(verify_sampling) {
  const Context ctx;
  Op(ctx, "espalier_verify_sampling",
     {{"tree_begin", kInt, {3}, {0, 1, 3}},
      {"token", kInt, {3}},
      {"parent", kInt, {3}, {-1, -1, 0}},
      {"p", kFp32, {3, 9}},
      {"scheme", kInt, {3}},
      {"q", kFp32, {2, 9}, {}, true, {0}},
      {"q_row", kInt, {3}},
      {"position", kInt, {2}},
      {"seed", kU64, {2, 2}},
      {"path", kInt, {3}},
      {"accept_len", kInt, {2}},
      {"bonus", kInt, {2}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_verify_sampling(
           c, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11]);
     })
      .check();
}

TEST(commit_kv) {
  const Context ctx;
  Op(ctx, "espalier_commit_kv",
     {{"from", kInt, {2}, {5, 7}},
      {"to", kInt, {2}, {4, 5}},
      {"k_cache", kFloat, {2, 16, 2, 8}},
      {"v_cache", kFloat, {2, 16, 2, 8}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_commit_kv(c, b[0], b[1], 2, b[2], b[3]);
     })
      .check();
}

TEST(recycle_fill) {
  const Context ctx;
  Op(ctx, "espalier_recycle_fill",
     {{"table", kInt, {9, 2}, {}, false, {0, 1}},
      {"parent", kInt, {3}, {-1, 0, 0}},
      {"rank", kInt, {3}, {0, 0, 1}},
      {"root", kInt, {2}},
      {"token", kInt, {6}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_recycle_fill(c, b[0], b[1], b[2], b[3], b[4]);
     })
      .check();
}

TEST(recycle_update) {
  const Context ctx;
  Op(ctx, "espalier_recycle_update",
     {{"tree_begin", kInt, {3}, {0, 1, 3}},
      {"token", kInt, {3}},
      {"path", kInt, {3}},
      {"accept_len", kInt, {2}},
      {"top", kInt, {3, 2}},
      {"table", kInt, {9, 2}, {}, false, {0}}},
     [](espalier_context* c, const Buffers& b) {
       return espalier_recycle_update(c, b[0], b[1], b[2], b[3], b[4], b[5]);
     })
      .check();
}

TEST(memory_that_is_not_there_is_refused_by_its_size) {
  const Context ctx;
  const std::string rule = std::string(" bytes, expected no more than the ") +
                           (espalier_test::on_cpu() ? "host" : "device") + " has free";
  const int64_t much[] = {int64_t{1} << 50};
  espalier_buffer* buffer = nullptr;
  check_goes_on(ctx, [&] {
    refused(
        espalier_buffer_create(ctx, ESPALIER_FP32, 1, much, &buffer), ESPALIER_OUT_OF_MEMORY,
        "espalier_buffer_create: memory = 4503599627370496" + rule);
  });
  CHECK(buffer == nullptr);
  if (espalier_test::on_cpu()) return;  // its ops take no memory of such sizes
  constexpr int64_t kMany = int64_t{1} << 20;
  const auto refuses = [&](const char* op, const std::function<espalier_status()>& call) {
    check_goes_on(ctx, [&] {
      CHECK_EQ(call(), ESPALIER_OUT_OF_MEMORY);
      const std::string text = espalier_last_error(), want = std::string(op) + ": memory = ";
      CHECK_MSG(
          text.find(want) == 0 && text.find(rule) != std::string::npos, "\"%s\"", text.c_str());
    });
  };
  Nowhere no(ctx);
  refuses("espalier_top_k", [&] {
    return espalier_top_k(ctx, no.fp32({kMany, kMany}), no.ints({kMany, 64}), no.fp32({kMany, 64}));
  });
  refuses("espalier_sample", [&] {
    const espalier_sampling sampling = greedy();
    return espalier_sample(
        ctx, no.fp32({4096, espalier::kMostVocab}), no.ints({0}), no.ints({4097}), no.ints({4096}),
        &sampling, ESPALIER_TARGET_NOISE, no.ints({4096, 64}), nullptr);
  });
  refuses("espalier_verify_sampling", [&] {
    espalier_buffer *begin = no.ints({65}), *seed = no.at(0, ESPALIER_U64, {64, 2});
    const auto nodes = [&] { return no.ints({64}); };
    return espalier_verify_sampling(
        ctx, begin, nodes(), nodes(), no.fp32({64, espalier::kMostVocab}), nodes(), nullptr,
        nodes(), nodes(), seed, nodes(), nodes(), nodes());
  });
  refuses("espalier_skinny_gemm", [&] {
    return espalier_skinny_gemm(
        ctx, no.fp32({espalier::kMostGemmRows, kMany}), nullptr, 0, no.bf16({8, kMany}), nullptr,
        nullptr, nullptr, nullptr, no.fp32({espalier::kMostGemmRows, 8}), nullptr, nullptr, nullptr,
        nullptr, nullptr, nullptr);
  });
  refuses("espalier_tree_attention", [&] {
    espalier_buffer *k = no.bf16({kMany, 128, 8, 64}), *v = no.bf16({kMany, 128, 8, 64});
    return espalier_tree_attention(
        ctx, no.fp32({65536, 8, 64}), k, v, no.ints({1, kMany}), no.ints({1}), no.ints({65536}),
        no.ints({65536}), no.ints({65536, 16}), 1, 0, 0, no.fp32({65536, 8, 64}));
  });
}

TEST(addresses_that_are_not_aligned_are_refused) {
  const Context ctx;
  const int64_t shape[] = {8};
  for (int32_t type = ESPALIER_FP32; type <= ESPALIER_U64; ++type) {
    espalier_buffer* buffer = nullptr;
    const int size = kTypeBytes[type];
    char text[200];
    for (const int offset : {1, size - 1, size / 2}) {
      void* data = reinterpret_cast<void*>((int64_t{1} << 44) + offset);
      std::snprintf(
          text, sizeof text,
          "espalier_buffer_wrap: data = %p, expected alignment to %d bytes, the size of a %s "
          "element",
          data, size, kTypeNames[type]);
      refused(
          espalier_buffer_wrap(ctx, data, type, 1, shape, &buffer), ESPALIER_INVALID_ARGUMENT,
          text);
    }
    CHECK(buffer == nullptr);
  }
  if (espalier_test::on_cpu()) return;  // what follows are rules of matrix units
  Nowhere no(ctx);
  const auto product = [&](int64_t offset, int64_t k) {
    return espalier_skinny_gemm(
        ctx, no.fp32({2, k}), nullptr, 0, no.bf16({4, k}), nullptr, nullptr, nullptr, nullptr,
        no.fp32({2, 4}), no.at(offset, ESPALIER_BF16, {4, k}), nullptr, no.fp32({2, 4}), nullptr,
        nullptr, nullptr);
  };
  check_goes_on(ctx, [&] {
    refused(
        product(0, 12), ESPALIER_UNSUPPORTED,
        "espalier_skinny_gemm: k = 12 of a row-major 16-bit weight, expected a multiple of 8");
    CHECK_EQ(product(2, 16), ESPALIER_UNSUPPORTED);
    const std::string text = espalier_last_error();
    CHECK_MSG(
        text.find("espalier_skinny_gemm: address of a row-major 16-bit weight = ") == 0 &&
            text.find(", expected a multiple of 16") != std::string::npos,
        "%s", text.c_str());
  });
}

TEST(heads_that_are_too_wide_for_the_kernel_are_refused) {
  if (espalier_test::on_cpu()) return;  // it takes them
  const Context ctx;
  Nowhere no(ctx);
  check_goes_on(ctx, [&] {
    espalier_buffer *k = no.bf16({3, 16, 2, 258}), *v = no.bf16({3, 16, 2, 258});
    refused(
        espalier_tree_attention(
            ctx, no.fp32({2, 4, 258}), k, v, no.ints({1, 2}), no.ints({1}), no.ints({2}),
            no.ints({2}), no.ints({2, 2}), 1, 0, 0, no.fp32({2, 4, 258})),
        ESPALIER_UNSUPPORTED, "espalier_tree_attention: head_dim = 258, expected at most 256");
  });
}

/** Along its first axis a grid has up to 2^31 - 1 blocks. */
TEST(more_rows_than_a_launch_has_blocks_are_refused) {
  const Context ctx;
  Nowhere no(ctx);
  constexpr int64_t kRows = (int64_t{1} << 31) + 1;
  const auto refuses = [&](const char* op, const char* what, espalier_status status,
                           int32_t most = INT32_MAX) {
    refused(
        status, ESPALIER_INVALID_ARGUMENT,
        std::string("espalier_") + op + ": " + what + " = 2147483649, expected 0 to " +
            std::to_string(most));
  };
  check_goes_on(ctx, [&] {
    refuses(
        "embed", "rows",
        espalier_embed(ctx, no.bf16({4, 2}), no.ints({kRows}), no.fp32({kRows, 2})));
    refuses(
        "rms_norm", "rows",
        espalier_rms_norm(ctx, no.fp32({kRows, 2}), no.bf16({2}), 0, no.fp32({kRows, 2})));
    refuses(
        "skinny_gemm", "m",
        espalier_skinny_gemm(
            ctx, no.fp32({kRows, 8}), nullptr, 0, no.bf16({3, 8}), nullptr, nullptr, nullptr,
            nullptr, no.fp32({kRows, 3}), nullptr, nullptr, nullptr, nullptr, nullptr, nullptr),
        espalier::kMostGemmRows);
    espalier_buffer *k = no.bf16({3, 16, 1, 2}), *v = no.bf16({3, 16, 1, 2});
    refuses(
        "rope_and_append", "rows",
        espalier_rope_and_append(
            ctx, no.fp32({kRows, 1, 2}), no.fp32({kRows, 1, 2}), no.fp32({kRows, 1, 2}), nullptr,
            nullptr, 0, no.fp32({kRows, 2, 1}), no.ints({kRows}), k, v));
    refuses(
        "tree_attention", "rows",
        espalier_tree_attention(
            ctx, no.fp32({kRows, 1, 2}), k, v, no.ints({1, 2}), no.ints({1}), no.ints({kRows}),
            no.ints({kRows}), no.ints({kRows, 2}), 1, 0, 0, no.fp32({kRows, 1, 2})));
    refuses(
        "top_k", "rows",
        espalier_top_k(ctx, no.fp32({kRows, 3}), no.ints({kRows, 2}), no.fp32({kRows, 2})));
    const espalier_sampling sampling = greedy();
    refuses(
        "sample", "rows",
        espalier_sample(
            ctx, no.fp32({kRows, 3}), no.ints({0}), no.ints({kRows + 1}), no.ints({kRows}),
            &sampling, ESPALIER_TARGET_NOISE, no.ints({kRows, 1}), nullptr));
    refuses(
        "commit_kv", "num_moves",
        espalier_commit_kv(ctx, no.ints({kRows}), no.ints({kRows}), 1, k, v));
  });
}

/** Threads that count nodes come behind the last one before they stop. */
TEST(more_nodes_than_threads_can_count_are_refused) {
  const Context ctx;
  Nowhere no(ctx);
  constexpr int64_t kMany = int64_t{espalier::kMostNodes} + 1;
  const auto refuses = [&](const char* text, const char* least, espalier_status status) {
    refused(
        status, ESPALIER_INVALID_ARGUMENT,
        std::string("espalier_") + text + " = 1073741825, expected " + least + " to 1073741824");
  };
  const auto ints = [&](int64_t n) { return no.ints({n}); };
  const auto verify = [&](int64_t batch, int64_t nodes) {
    return espalier_verify(
        ctx, ints(batch + 1), ints(nodes), ints(nodes), ints(nodes), ints(nodes), ints(batch));
  };
  const auto verify_sampling = [&](int64_t batch, int64_t nodes) {
    return espalier_verify_sampling(
        ctx, ints(batch + 1), ints(nodes), ints(nodes), no.fp32({nodes, 3}), ints(nodes), nullptr,
        ints(nodes), ints(batch), no.at(0, ESPALIER_U64, {batch, 2}), ints(nodes), ints(batch),
        ints(batch));
  };
  const auto fill = [&](int64_t batch, int64_t tree_len) {
    return espalier_recycle_fill(
        ctx, no.ints({9, 2}), ints(tree_len), ints(tree_len), ints(batch), ints(batch * tree_len));
  };
  const auto update = [&](int64_t batch, int64_t nodes) {
    return espalier_recycle_update(
        ctx, ints(batch + 1), ints(nodes), ints(nodes), ints(batch), no.ints({nodes, 2}),
        no.ints({9, 2}));
  };
  const espalier_sampling sampling = greedy();
  check_goes_on(ctx, [&] {
    refuses("verify: batch", "0", verify(kMany, 1));
    refuses("verify: num_nodes", "0", verify(1, kMany));
    refuses("verify_sampling: batch", "0", verify_sampling(kMany, 1));
    refuses("verify_sampling: num_nodes", "0", verify_sampling(1, kMany));
    refuses("recycle_fill: batch", "0", fill(kMany, 1));
    refuses("recycle_fill: tree_len", "1", fill(1, kMany));
    refuses("recycle_update: batch", "0", update(kMany, 1));
    refuses("recycle_update: num_nodes", "0", update(1, kMany));
    refuses(
        "sample: history_len", "0",
        espalier_sample(
            ctx, no.fp32({1, 3}), ints(kMany), ints(2), ints(1), &sampling, ESPALIER_TARGET_NOISE,
            no.ints({1, 1}), nullptr));
    constexpr int64_t kWide = int64_t{espalier::kMostRopeDim} + 2;
    espalier_buffer *k = no.bf16({3, 16, 1, kWide}), *v = no.bf16({3, 16, 1, kWide});
    refused(
        espalier_rope_and_append(
            ctx, no.fp32({1, 1, kWide}), no.fp32({1, 1, kWide}), no.fp32({1, 1, kWide}), nullptr,
            nullptr, 0, no.fp32({1, 2, kWide / 2}), ints(1), k, v),
        ESPALIER_INVALID_ARGUMENT,
        "espalier_rope_and_append: head_dim = 1073741826, expected 2 to 1073741824");
  });
}

/** Along its other axes it has up to 65535; and what a block counts along the first one is more than rows in some ops. */
TEST(larger_calls_than_a_launch_takes_are_refused_by_their_lengths) {
  const Context ctx;
  Nowhere no(ctx);
  const auto refuses = [&](const char* text, espalier_status status) {
    refused(status, ESPALIER_INVALID_ARGUMENT, std::string("espalier_") + text);
  };
  const auto product = [&](int64_t m, int64_t n) {
    return espalier_skinny_gemm(
        ctx, no.fp32({m, 8}), nullptr, 0, no.fp32({n, 8}), nullptr, nullptr, nullptr, nullptr,
        no.fp32({m, n}), nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  };
  const auto attention = [&](int64_t rows, int64_t q_heads, int64_t max_pages, int64_t max_depth) {
    espalier_buffer *k = no.bf16({3, 16, 1, 64}), *v = no.bf16({3, 16, 1, 64});
    return espalier_tree_attention(
        ctx, no.fp32({rows, q_heads, 64}), k, v, no.ints({1, max_pages}), no.ints({1}),
        no.ints({rows}), no.ints({rows}), no.ints({rows, max_depth}), 1, 0, 0,
        no.fp32({rows, q_heads, 64}));
  };
  const auto rope = [&](int64_t rows, int64_t q_heads, int64_t kv_heads, int64_t head_dim) {
    espalier_buffer *k = no.bf16({3, 16, kv_heads, head_dim}),
                    *v = no.bf16({3, 16, kv_heads, head_dim});
    return espalier_rope_and_append(
        ctx, no.fp32({rows, q_heads, head_dim}), no.fp32({rows, kv_heads, head_dim}),
        no.fp32({rows, kv_heads, head_dim}), nullptr, nullptr, 0, no.fp32({rows, 2, head_dim / 2}),
        no.ints({rows}), k, v);
  };
  constexpr int64_t kVocab = int64_t{espalier::kMostVocab} + 1;
  const espalier_sampling sampling = greedy();
  check_goes_on(ctx, [&] {
    espalier_buffer *k = no.bf16({65536, 16, 1, 2}), *v = no.bf16({65536, 16, 1, 2});
    refuses(
        "commit_kv: num_layers = 32768, expected 1 to 32767",
        espalier_commit_kv(ctx, no.ints({1}), no.ints({1}), 32768, k, v));
    espalier_buffer *wide_k = no.bf16({1, 1, 65536, 32768}),
                    *wide_v = no.bf16({1, 1, 65536, 32768});
    refuses(
        "commit_kv: num_kv_heads * head_dim = 65536 * 32768, expected at most 2147483647",
        espalier_commit_kv(ctx, no.ints({1}), no.ints({1}), 1, wide_k, wide_v));
    refuses("skinny_gemm: m = 524281, expected 0 to 524280", product(524281, 3));
    refuses("skinny_gemm: n = 2147483648, expected 0 to 2147483647", product(1, int64_t{1} << 31));
    refuses("tree_attention: num_q_heads = 65536, expected 1 to 65535", attention(1, 65536, 2, 2));
    refuses(
        "tree_attention: rows * num_q_heads = 65536 * 32768, expected at most 2147483647",
        attention(65536, 32768, 2, 2));
    refuses(
        "tree_attention: max_pages * page_size + max_depth = 1073741825, expected at most "
        "1073741824",
        attention(1, 1, (1 << 26) - 1, 17));
    refuses(
        "rope_and_append: rows * (num_q_heads + 2 * num_kv_heads) = 1048576 * 2048, expected at "
        "most 2147483647",
        rope(1 << 20, 1024, 512, 64));
    refuses(
        "top_k: vocab = 268431361, expected 1 to 268431360",
        espalier_top_k(ctx, no.fp32({1, kVocab}), no.ints({1, 2}), no.fp32({1, 2})));
    refuses(
        "sample: vocab = 268431361, expected 1 to 268431360",
        espalier_sample(
            ctx, no.fp32({1, kVocab}), no.ints({0}), no.ints({2}), no.ints({1}), &sampling,
            ESPALIER_TARGET_NOISE, no.ints({1, 1}), nullptr));
    const auto one = [&] { return no.ints({1}); };
    refuses(
        "verify_sampling: vocab = 268431361, expected 1 to 268431360",
        espalier_verify_sampling(
            ctx, no.ints({2}), one(), one(), no.fp32({1, kVocab}), one(), nullptr, one(), one(),
            no.at(0, ESPALIER_U64, {1, 2}), one(), one(), one()));
  });
}

/** Not a bad call: there is nothing to do. */
TEST(calls_without_rows_launch_nothing) {
  const Context ctx;
  const auto fp32 = [&](const Shape& shape) {
    return std::make_unique<Buffer>(ctx, ESPALIER_FP32, shape);
  };
  const auto ints = [&](const Shape& shape, const Ints& values = {}) {
    auto buffer = std::make_unique<Buffer>(ctx, ESPALIER_I32, shape);
    if (!values.empty()) buffer->write(values);
    return buffer;
  };
  const Buffer halves(ctx, ESPALIER_BF16, {9, 8}), norm(ctx, ESPALIER_BF16, {8}),
      k(ctx, ESPALIER_BF16, {3, 16, 2, 8}), v(ctx, ESPALIER_BF16, {3, 16, 2, 8}),
      seed(ctx, ESPALIER_U64, {0, 2});
  const espalier_sampling sampling = greedy();
  const auto none = [&] { return ints({0}); };
  check_goes_on(ctx, [&] {
    ok(espalier_embed(ctx, halves, *none(), *fp32({0, 8})));
    ok(espalier_rms_norm(ctx, *fp32({0, 8}), norm, 0, *fp32({0, 8})));
    ok(espalier_rms_norm(ctx, *fp32({3, 0}), *fp32({0}), 0, *fp32({3, 0})));
    ok(espalier_skinny_gemm(
        ctx, *fp32({0, 8}), norm, 0, halves, nullptr, nullptr, nullptr, nullptr, *fp32({0, 9}),
        nullptr, nullptr, nullptr, nullptr, nullptr, nullptr));
    ok(espalier_rope_and_append(
        ctx, *fp32({0, 4, 8}), *fp32({0, 2, 8}), *fp32({0, 2, 8}), nullptr, nullptr, 0,
        *fp32({0, 2, 4}), *none(), k, v));
    ok(espalier_tree_attention(
        ctx, *fp32({0, 4, 8}), k, v, *ints({1, 2}), *ints({1}), *none(), *none(), *ints({0, 2}), 1,
        0, 0, *fp32({0, 4, 8})));
    ok(espalier_top_k(ctx, *fp32({0, 9}), *ints({0, 3}), *fp32({0, 3})));
    ok(espalier_sample(
        ctx, *fp32({0, 9}), *none(), *ints({1}), *none(), &sampling, ESPALIER_TARGET_NOISE,
        *ints({0, 3}), *fp32({0, 9})));
    ok(espalier_verify(ctx, *ints({1}), *none(), *none(), *none(), *none(), *none()));
    ok(espalier_verify_sampling(
        ctx, *ints({1}), *none(), *none(), *fp32({0, 9}), *none(), *fp32({0, 9}), *none(), *none(),
        seed, *none(), *none(), *none()));
    ok(espalier_commit_kv(ctx, *none(), *none(), 3, k, v));
    ok(espalier_recycle_fill(
        ctx, *ints({9, 2}), *ints({2}, {-1, 0}), *ints({2}), *none(), *none()));
    ok(espalier_recycle_update(
        ctx, *ints({1}), *none(), *none(), *none(), *ints({0, 2}), *ints({9, 2})));
  });
}
