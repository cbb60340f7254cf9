// A backend from a library: what is loaded, what is refused and why, and that its failures arrive as statuses.
#include <cstdio>
#include <string>

#include "architectures.h"
#include "check.h"
#include "ops.h"

namespace {

using namespace ops;

std::string library(const char* name) { return std::string(ESPALIER_TEST_BACKENDS) + "/" + name; }

espalier_device_info described(int32_t entry) {
  espalier_device_info info{};
  info.size = sizeof info;
  ok(espalier_device_describe(entry, &info));
  return info;
}

/** The one CUDA entry says why there is none; the CPU works all the same. */
void check_cpu_answers(const std::string& reason) {
  CHECK_EQ(espalier_device_count(), 2);
  const espalier_device_info cuda = described(1);
  CHECK_EQ(cuda.kind, ESPALIER_CUDA);
  CHECK_EQ(cuda.available, 0);
  CHECK_EQ(std::string(cuda.reason), reason);
  CHECK_EQ(described(0).available, 1);
  espalier_context* ctx = nullptr;
  refused(
      espalier_context_create(ESPALIER_CUDA, 0, 0, &ctx), ESPALIER_UNAVAILABLE,
      "espalier_context_create: " + reason);
  CHECK(ctx == nullptr);
  ok(espalier_context_create(ESPALIER_CPU, 0, 1, &ctx));
  espalier_context_destroy(ctx);
}

/** Once loaded, the library stays: it is the last thing that these tests load. */
void load_cpu_library() {
  static const bool loaded = [] {
    ok(espalier_backend_load(library("libcpu_library.so").c_str()));
    return true;
  }();
  CHECK(loaded);
}

struct CudaContext {
  espalier_context* handle = nullptr;
  explicit CudaContext(int32_t idx) {
    load_cpu_library();
    ok(espalier_context_create(ESPALIER_CUDA, idx, 0, &handle));
  }
  ~CudaContext() { espalier_context_destroy(handle); }
};

}  // namespace

TEST(before_anything_is_loaded_the_reason_is_a_missing_jar) {
  check_cpu_answers(
      "the CUDA backend (libespalier_cuda.so) is not loaded; add the linux-x86_64-gpu jar");
}

TEST(what_is_no_backend_of_this_version_is_refused_by_name) {
  const std::string bogus = library("libbogus.so"), other_abi = library("libother_abi.so");
  const struct {
    std::string path, reason;
  } refusals[] = {
      {"/nowhere/lib.so",
       "/nowhere/lib.so: cannot open shared object file: No such file or directory"},
      {bogus, bogus + " has no espalier_backend_library, expected a backend of espalier"},
      {other_abi,
       "backend ABI of " + other_abi + " = 4000000000, expected 1; use jars of one version"}};
  for (const auto& [path, reason] : refusals) {
    refused(
        espalier_backend_load(path.c_str()), ESPALIER_UNAVAILABLE,
        "espalier_backend_load: espalier_cuda not loaded: " + reason);
    check_cpu_answers("espalier_cuda not loaded: " + reason);
  }
  CHECK_EQ(espalier_backend_load(__FILE__), ESPALIER_UNAVAILABLE);
  refused(
      espalier_backend_load(nullptr), ESPALIER_INVALID_ARGUMENT,
      "espalier_backend_load: path = NULL, expected a pointer");
}

TEST(devices_of_a_library_are_listed_with_what_is_wrong_with_them) {
  load_cpu_library();
  CHECK_EQ(espalier_device_count(), 4);
  for (int32_t idx = 0; idx < 3; ++idx) {
    const espalier_device_info info = described(1 + idx);
    CHECK_EQ(info.kind, ESPALIER_CUDA);
    CHECK_EQ(info.idx, idx);
    CHECK_EQ(info.available, idx == 1 ? 0 : 1);
    CHECK_EQ(std::string(info.name), "test card " + std::to_string(idx));
    CHECK_EQ(std::string(info.reason), idx == 1 ? "too old" : "");
    CHECK_EQ(std::string(info.prompt_gemm), idx == 0 ? "own kernels: a test" : "");
  }
  espalier_context* ctx = nullptr;
  refused(
      espalier_context_create(ESPALIER_CUDA, 1, 0, &ctx), ESPALIER_UNAVAILABLE,
      "espalier_context_create: too old");
  for (const int32_t idx : {-1, 3}) {
    refused(
        espalier_context_create(ESPALIER_CUDA, idx, 0, &ctx), ESPALIER_INVALID_ARGUMENT,
        "espalier_context_create: idx = " + std::to_string(idx) +
            ", expected 0 to 2, the last CUDA device");
  }
  const std::string path = library("libcpu_library.so");
  refused(
      espalier_backend_load(path.c_str()), ESPALIER_INVALID_STATE,
      "espalier_backend_load: path = " + path + ", expected one call: a backend is loaded already");
}

TEST(an_op_runs_in_the_library) {
  const CudaContext ctx(0);
  const int64_t shape[] = {2, 4}, width[] = {4};
  const float x[] = {1, 2, 3, 4, 0, 0, 0, 5}, weight[] = {1, 1, 1, 1};
  espalier_buffer *in = nullptr, *scale = nullptr, *out = nullptr;
  ok(espalier_buffer_create(ctx.handle, ESPALIER_FP32, 2, shape, &in));
  ok(espalier_buffer_create(ctx.handle, ESPALIER_FP32, 1, width, &scale));
  ok(espalier_buffer_create(ctx.handle, ESPALIER_FP32, 2, shape, &out));
  ok(espalier_buffer_write(in, x, sizeof x));
  ok(espalier_buffer_write(scale, weight, sizeof weight));
  ok(espalier_rms_norm(ctx.handle, in, scale, 0.0f, out));
  ok(espalier_synchronize(ctx.handle));
  float got[8];
  ok(espalier_buffer_read(out, got, sizeof got));
  CHECK_EQ(got[7], 2.0f);
  for (espalier_buffer* buffer : {in, scale, out}) espalier_buffer_destroy(buffer);
}

TEST(what_a_library_throws_is_a_status_with_its_text) {
  load_cpu_library();
  espalier_context* ctx = nullptr;
  refused(
      espalier_context_create(ESPALIER_CUDA, 2, 0, &ctx), ESPALIER_DEVICE_FAILURE,
      "espalier_context_create: the card does not answer");
  CHECK(ctx == nullptr);
}

TEST(a_card_runs_what_was_built_for_it) {
  const struct {
    const char* list;
    int major, minor;
    bool runs;
  } cases[] = {{"80-real", 8, 0, true},      {"80-real", 8, 9, true},
               {"86-real", 8, 0, false},     {"80-real", 9, 0, false},
               {"90a-real", 9, 0, true},     {"90a-real", 9, 1, false},
               {"90a-real", 10, 0, false},   {"100-real", 10, 3, true},
               {"100f-real", 10, 3, true},   {"80", 12, 0, true},
               {"80-virtual", 8, 0, true},   {"120", 10, 0, false},
               {"80-real 120", 13, 0, true}, {"80-real 120", 9, 0, false},
               {"80-real 120", 7, 5, false}, {"80-real 90a-real", 9, 0, true}};
  for (const auto& [list, major, minor, runs] : cases) {
    CHECK_MSG(
        espalier::runs_on(list, major, minor) == runs, "%s on %d.%d: not %d", list, major, minor,
        runs);
  }
}
