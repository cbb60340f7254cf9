// The CUDA backend on the emulator: memory, copies, failures that are kept, and steps that are recorded and replayed.
#include <algorithm>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "cuda_backend.h"
#include "emulated_device.h"
#include "emulator.h"
#include "simt/runtime.h"

using namespace espalier;
using simt::emulated::counts;

namespace {

constexpr int64_t kHidden = 48;

/** A backend, and rows of numbers on it. */
struct Rows {
  std::unique_ptr<Backend> backend = make_cuda_backend(0);
  float *x, *out, *weight;

  Rows() {
    x = static_cast<float*>(backend->allocate(8 * kHidden * sizeof(float)));
    out = static_cast<float*>(backend->allocate(8 * kHidden * sizeof(float)));
    weight = static_cast<float*>(backend->allocate(kHidden * sizeof(float)));
    const std::vector<float> ones(kHidden, 1.0f);
    backend->upload(weight, ones.data(), kHidden * sizeof(float));
  }
  ~Rows() {
    for (float* p : {x, out, weight}) backend->release(p);
  }

  void put(float value) {
    std::vector<float> row(kHidden, value);
    row[0] = 2 * value + 1;
    backend->upload(x, row.data(), kHidden * sizeof(float));
  }
  RmsNormArgs norm() const { return {x, weight, Type::kFp32, 1e-5f, out, 1, kHidden}; }
  std::vector<float> result() {
    std::vector<float> row(kHidden);
    backend->download(row.data(), out, kHidden * sizeof(float));
    return row;
  }
  Failure failure() { return backend->take_failure(); }

  /** One step of a norm; true when it was replayed. */
  bool step(uint64_t owner, const std::vector<int32_t>& shape) {
    if (!backend->begin_step(owner, shape)) return true;
    backend->rms_norm(norm());
    backend->end_step();
    return false;
  }
};

}  // namespace

TEST(memory_is_zeroed_and_copies_arrive) {
  Rows r;
  const size_t bytes = (size_t{9} << 20) + 12;  // more than the pinned memory holds
  auto* a = static_cast<char*>(r.backend->allocate(bytes));
  auto* b = static_cast<char*>(r.backend->allocate(bytes));
  std::vector<char> got(bytes, 1), sent(bytes);
  r.backend->download(got.data(), a, bytes);
  CHECK(got == std::vector<char>(bytes, 0));
  for (size_t i = 0; i < bytes; ++i) sent[i] = static_cast<char>(i * 7 + i / 251);
  r.backend->upload(a, sent.data(), bytes);
  const std::vector<char> kept = sent;
  std::fill(sent.begin(), sent.end(), 0);  // an upload has taken what it needs
  r.backend->copy(b, a, bytes);
  r.backend->download(got.data(), b, bytes);
  CHECK(got == kept);
  CHECK_EQ(r.failure().status, ESPALIER_OK);
  r.backend->release(a);
  r.backend->release(b);
}

TEST(weights_are_packed_as_they_are_loaded_and_no_bit_changes) {
  Rows r;
  uint32_t state = 1;
  const auto next = [&] { return state = state * 1664525 + 1013904223; };
  // The second one takes several pieces, of 32 rows; the third one has no multiple of a block.
  for (const auto& [n, k] : {std::pair{40, 64}, std::pair{70, 12000}, std::pair{21, 40}}) {
    std::vector<uint16_t> host(n * k);
    for (uint16_t& bits : host) bits = static_cast<uint16_t>(0x3c00 + (next() >> 23));
    std::vector<float> x(3 * k);
    for (float& value : x) value = static_cast<float>(static_cast<int32_t>(next()) >> 12) * 1e-4f;
    const size_t out_bytes = 3 * n * sizeof(float);
    auto* on_x = static_cast<float*>(r.backend->allocate(x.size() * sizeof(float)));
    auto* rows = r.backend->allocate(host.size() * 2);
    auto* out = static_cast<float*>(r.backend->allocate(out_bytes + 2 * k * sizeof(float)));
    auto* token = static_cast<int32_t*>(r.backend->allocate(2 * sizeof(int32_t)));
    r.backend->upload(on_x, x.data(), x.size() * sizeof(float));
    r.backend->upload(rows, host.data(), host.size() * 2);
    const std::vector<int32_t> tokens = {n - 1, 9};
    r.backend->upload(token, tokens.data(), 2 * sizeof(int32_t));
    const Weight packed = r.backend->prepare_weight(host.data(), Type::kBf16, n, k);
    std::fill(host.begin(), host.end(), 0);  // what was loaded is there
    CHECK(packed.packed);
    std::vector<std::vector<float>> results;
    for (const Weight& weight : {Weight{rows, Type::kBf16, n, k}, packed}) {
      SkinnyGemmArgs gemm;
      gemm.x = on_x;
      gemm.part[0] = {weight, {}, out};
      gemm.m = 3;
      r.backend->skinny_gemm(gemm);
      r.backend->embed({weight, token, out + 3 * n, 2});
      results.emplace_back(3 * n + 2 * k);
      r.backend->download(results.back().data(), out, out_bytes + 2 * k * sizeof(float));
    }
    const Failure failure = r.failure();
    CHECK_MSG(failure.status == ESPALIER_OK, "%s", failure.text);
    CHECK_MSG(results[0] == results[1], "[%d, %d]: packed gives other bits", n, k);
    CHECK(results[0][0] != 0 && results[0][3 * n] != 0);
    r.backend->release_weight(packed);
    for (void* p :
         {static_cast<void*>(on_x), rows, static_cast<void*>(out), static_cast<void*>(token)})
      r.backend->release(p);
  }
  const std::vector<float> vector(48, 1);
  const Weight norm = r.backend->prepare_weight(vector.data(), Type::kFp32, 1, 48);
  const Weight bias = r.backend->prepare_weight(vector.data(), Type::kBf16, 1, 96);
  CHECK(!norm.packed && !bias.packed);
  r.backend->release_weight(norm);
  r.backend->release_weight(bias);
}

TEST(a_weight_without_columns_gives_sums_of_nothing) {
  Rows r;
  auto* out = static_cast<float*>(r.backend->allocate(3 * 5 * sizeof(float)));
  r.backend->upload(out, std::vector<float>(15, 1).data(), 15 * sizeof(float));
  for (const Type type : {Type::kBf16, Type::kFp32}) {
    const Weight weight = r.backend->prepare_weight(nullptr, type, 5, 0);
    SkinnyGemmArgs gemm;
    gemm.x = out;  // of which nothing is read
    gemm.part[0] = {weight, {}, out};
    gemm.m = 3;
    r.backend->skinny_gemm(gemm);
    std::vector<float> got(15);
    r.backend->download(got.data(), out, 15 * sizeof(float));
    const Failure failure = r.failure();
    CHECK_MSG(failure.status == ESPALIER_OK, "%s", failure.text);
    CHECK(got == std::vector<float>(15, 0));
    r.backend->release_weight(weight);
  }
  r.backend->release(out);
}

TEST(a_weight_whose_rows_exceed_the_pinned_memory_is_refused) {
  Rows r;
  const int64_t k = (int64_t{1} << 17) + 1;
  const std::vector<uint16_t> host(2 * k);
  r.backend->release_weight(r.backend->prepare_weight(host.data(), Type::kBf16, 2, k));
  const Failure failure = r.failure();
  CHECK_EQ(failure.status, ESPALIER_UNSUPPORTED);
  CHECK_MSG(
      std::strstr(failure.text, "k = 131073, expected at most 131072") != nullptr, "%s",
      failure.text);
}

TEST(uploads_do_not_wait) {
  Rows r;
  r.backend->synchronize();
  const auto before = counts();
  for (int i = 0; i < 100; ++i) {
    r.put(static_cast<float>(i));
    r.backend->rms_norm(r.norm());
  }
  CHECK_EQ(counts().waits, before.waits);
  CHECK_EQ(counts().launches, before.launches);  // and nothing ran yet
  r.result();
  CHECK_EQ(counts().waits, before.waits + 1);
  CHECK_EQ(counts().launches, before.launches + 100);
}

TEST(a_step_runs_then_is_captured_then_replayed) {
  Rows r;
  Rows fresh;
  for (int i = 0; i < 6; ++i) {
    const auto before = counts();
    r.put(static_cast<float>(i));
    const bool replayed = r.step(7, {1, 2});
    CHECK_EQ(replayed, i >= 2);
    CHECK_EQ(counts().captures - before.captures, i == 1 ? 1 : 0);
    CHECK_EQ(counts().graph_launches - before.graph_launches, i == 0 ? 0 : 1);
    fresh.put(static_cast<float>(i));
    fresh.backend->rms_norm(fresh.norm());
    CHECK_MSG(r.result() == fresh.result(), "step %d", i);
    CHECK_EQ(counts().allocations, before.allocations);
  }
  CHECK_EQ(r.failure().status, ESPALIER_OK);
}

TEST(steps_of_other_shapes_and_owners_are_others) {
  Rows r;
  for (int i = 0; i < 3; ++i) r.step(7, {1, 2});
  CHECK(!r.step(7, {1, 3}));
  CHECK(!r.step(7, {1}));
  CHECK(!r.step(8, {1, 2}));
  CHECK(r.step(7, {1, 2}));
  r.backend->drop_steps(8);
  CHECK(r.step(7, {1, 2}));
  r.backend->drop_steps(7);  // while a launch of the graph waits
  CHECK(!r.step(7, {1, 2}));
  r.backend->synchronize();
  CHECK_EQ(r.failure().status, ESPALIER_OK);
}

TEST(a_workspace_that_grows_ends_the_graphs_that_know_the_old_one) {
  const auto backend = make_cuda_backend(0);
  const auto cpu = make_cpu_backend(1);
  constexpr int32_t kVocab = 40000, kMost = 8, kK = 64;
  auto* x = static_cast<float*>(backend->allocate(kMost * int64_t{kVocab} * sizeof(float)));
  auto* idx = static_cast<int32_t*>(backend->allocate(kMost * kK * sizeof(int32_t)));
  std::vector<float> row(kVocab);
  uint32_t state = 1;
  for (const int32_t rows : {1, 1, 1, kMost, kMost, 1, 1}) {
    for (float& value : row) {
      state = state * 1664525 + 1013904223;
      value = static_cast<float>(state >> 8);
    }
    for (int32_t r = 0; r < rows; ++r)
      backend->upload(x + int64_t{r} * kVocab, row.data(), kVocab * sizeof(float));
    TopKArgs args{x, idx, nullptr, rows, kVocab, kK};
    if (backend->begin_step(7, {rows})) {
      backend->top_k(args);
      backend->end_step();
    }
    std::vector<int32_t> got(rows * kK), want(kK);
    backend->download(got.data(), idx, got.size() * sizeof(int32_t));
    args = {row.data(), want.data(), nullptr, 1, kVocab, kK};
    cpu->top_k(args);
    for (int32_t r = 0; r < rows; ++r)
      CHECK(std::equal(want.begin(), want.end(), got.begin() + r * kK));
  }
  const Failure failure = backend->take_failure();
  CHECK_MSG(failure.status == ESPALIER_OK, "%s", failure.text);
  backend->release(x);
  backend->release(idx);
}

TEST(steps_used_longest_ago_are_forgotten) {
  Rows r;
  for (int32_t shape = 0; shape < 300; ++shape) {
    r.step(7, {shape});
    r.step(7, {shape});
    CHECK(r.step(7, {0}));
  }
  CHECK(r.step(7, {299}));
  CHECK(!r.step(7, {1}));
  r.backend->synchronize();
  CHECK_EQ(r.failure().status, ESPALIER_OK);
}

TEST(the_first_failure_is_kept_and_what_follows_does_nothing) {
  Rows r;
  r.put(1);
  r.backend->rms_norm(r.norm());
  const std::vector<float> before = r.result();
  CommitKvArgs beyond{};
  beyond.num_moves = beyond.row_bytes = 4;
  beyond.num_layers = 40000;  // more blocks than a grid's axis has
  r.backend->commit_kv(beyond);
  r.put(2);
  r.result();  // the wait meets the failure
  r.put(3);
  r.backend->rms_norm(r.norm());
  const Failure failure = r.failure();
  CHECK_EQ(failure.status, ESPALIER_DEVICE_FAILURE);
  CHECK_MSG(
      std::strstr(failure.text, "commit_kv_kernel") != nullptr &&
          std::strstr(failure.text, "grid axis 1 = 80000") != nullptr,
      "%s", failure.text);
  CHECK_EQ(r.failure().status, ESPALIER_OK);
  CHECK(r.result() == before);
  r.put(1);
  r.backend->rms_norm(r.norm());
  CHECK(r.result() == before);
}

TEST(a_step_that_fails_while_it_is_captured_leaves_no_graph) {
  Rows r;
  r.step(7, {1});
  if (r.backend->begin_step(7, {1})) {
    r.backend->rms_norm(r.norm());
    r.result();  // waits inside of a capture
    r.backend->end_step();
  }
  CHECK_EQ(r.failure().status, ESPALIER_DEVICE_FAILURE);
  r.put(3);
  CHECK(!r.step(7, {1}));
  CHECK(r.step(7, {1}));
  r.result();
  CHECK_EQ(r.failure().status, ESPALIER_OK);
}

TEST(memory_that_the_device_lacks_is_a_failure_and_a_status_of_the_abi) {
  Rows r;
  CHECK(r.backend->allocate(size_t{1} << 40) == nullptr);
  CHECK_EQ(r.failure().status, ESPALIER_OUT_OF_MEMORY);
  espalier_context* ctx = espalier_test::create_emulated_context();
  const int64_t many = int64_t{1} << 38, few = 4;
  espalier_buffer* buffer = nullptr;
  CHECK_EQ(espalier_buffer_create(ctx, ESPALIER_FP32, 1, &many, &buffer), ESPALIER_OUT_OF_MEMORY);
  CHECK(buffer == nullptr);
  CHECK_EQ(espalier_buffer_create(ctx, ESPALIER_FP32, 1, &few, &buffer), ESPALIER_OK);
  const float sent[4] = {1, 2, 3, 4};
  float got[4] = {};
  CHECK_EQ(espalier_buffer_write(buffer, sent, sizeof sent), ESPALIER_OK);
  CHECK_EQ(espalier_buffer_read(buffer, got, sizeof got), ESPALIER_OK);
  CHECK(std::equal(sent, sent + 4, got));
  espalier_buffer_destroy(buffer);
  espalier_context_destroy(ctx);
}

TEST(a_workspace_grows_and_recorded_steps_go_with_it) {
  Rows r;
  constexpr int32_t kVocab = 9000;
  std::vector<float> x(4 * kVocab);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7919 % 8999);
  auto* on_x = static_cast<float*>(r.backend->allocate(x.size() * sizeof(float)));
  auto* idx = static_cast<int32_t*>(r.backend->allocate(4 * 64 * sizeof(int32_t)));
  r.backend->upload(on_x, x.data(), x.size() * sizeof(float));
  const auto best = [&](int32_t rows, int32_t k) {
    if (r.backend->begin_step(1, {rows, k})) {
      r.backend->top_k({on_x, idx, nullptr, rows, kVocab, k});
      r.backend->end_step();
    }
    std::vector<int32_t> got(rows * k);
    r.backend->download(got.data(), idx, got.size() * sizeof(int32_t));
    for (int32_t row = 0; row < rows; ++row) {
      const auto begin = x.begin() + row * kVocab,
                 largest = std::max_element(begin, begin + kVocab);
      CHECK_EQ(got[row * k], largest - begin);
    }
  };
  for (int i = 0; i < 3; ++i) best(1, 2);
  for (int i = 0; i < 3; ++i) best(4, 64);  // more workspace
  for (int i = 0; i < 3; ++i) best(1, 2);
  CHECK_EQ(r.failure().status, ESPALIER_OK);
  r.backend->release(on_x);
  r.backend->release(idx);
}
