// A prompt's products by cuBLASLt, through the backend: within the op's bound of fp64, from the row on that the rule says, captured and
// replayed, and without it when it refuses. Under the emulator with a library that multiplies on the host.
#include <cstdlib>

#include "cuda_backend.h"
#include "gemm_problem.h"

#ifndef ESPALIER_ON_HARDWARE
#include "emulator.h"
#include "fake_library.h"
#endif

using namespace gemm_test;
using espalier::Backend;
using espalier::CublasLtOptions;
using espalier::Failure;
using espalier::Weight;

namespace {

constexpr int64_t kLeastRows = 70;

std::mt19937 seeded() { return std::mt19937(static_cast<uint32_t>(check::seed())); }

CublasLtOptions options(size_t unpacked_bytes = size_t{1} << 20) {
  CublasLtOptions of;
#ifdef ESPALIER_ON_HARDWARE
  of.folders = espalier::cublaslt_folders();
#else
  of.folders = {espalier_test::kFakeFolder};
#endif
  of.rule = {kLeastRows, 96, 120000};
  of.unpacked_bytes = unpacked_bytes;
  return of;
}

/** A backend that has cuBLASLt from kLeastRows rows on. */
struct Device {
  std::unique_ptr<Backend> backend;

  explicit Device(const CublasLtOptions& of = options())
      : backend(espalier::make_cuda_backend(0, nullptr, of)) {
#ifndef ESPALIER_ON_HARDWARE
    espalier_test::fake_library().reset();
#endif
  }

  /** How many products the library made so far. */
  static int matmuls() {
#ifdef ESPALIER_ON_HARDWARE
    return -1;
#else
    return espalier_test::fake_library().matmuls;
#endif
  }

  std::string failure() const {
    const Failure failure = backend->take_failure();
    return failure.status == ESPALIER_OK ? "" : failure.text;
  }
};

/** The arguments of a problem on a device, for as long as this lives. */
class OnDevice {
 public:
  OnDevice(const Device& device, const Problem& p, bool in_place = false)
      : backend_(*device.backend), p_(p) {
    const Case& c = p.c;
    args.x = floats(p.x);
    if (c.norm) args.norm = {halves(p.norm, Type::kBf16), Type::kBf16, kEps};
    for (size_t i = 0; i < c.n.size(); ++i) {
      args.part[i].w = weight(p.w[i], c.n[i]);
      if (c.bias) args.part[i].bias = {halves(p.bias[i], c.type), c.type, 1, c.n[i]};
      outs_.push_back(
          floats(in_place ? p.residual : Vector(static_cast<size_t>(c.m * c.n[i]), std::nanf(""))));
      args.part[i].out = outs_[i];
    }
    if (c.gate) args.up = weight(p.up, c.n[0]);
    if (c.gate && c.bias) args.up_bias = {floats(p.up_bias), Type::kFp32, 1, c.n[0]};
    if (c.residual) args.residual = in_place ? outs_[0] : floats(p.residual);
    args.num_parts = static_cast<int32_t>(c.n.size());
    args.m = c.m;
    args.prompt = c.prompt;
  }
  ~OnDevice() {
    for (void* memory : memory_) backend_.release(memory);
    for (const Weight& w : weights_) backend_.release_weight(w);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  std::vector<Vector> results() const {
    std::vector<Vector> all;
    for (size_t i = 0; i < outs_.size(); ++i) {
      all.emplace_back(static_cast<size_t>(p_.c.m * p_.c.n[i]));
      backend_.download(all[i].data(), outs_[i], all[i].size() * sizeof(float));
    }
    return all;
  }

  SkinnyGemmArgs args;

 private:
  template <class T>
  T* upload(const std::vector<T>& values) {
    void* memory = backend_.allocate(values.size() * sizeof(T));
    memory_.push_back(memory);
    backend_.upload(memory, values.data(), values.size() * sizeof(T));
    return static_cast<T*>(memory);
  }
  float* floats(const Vector& values) { return upload(values); }
  uint16_t* halves(const Vector& values, Type type) { return upload(bits(values, type)); }
  static std::vector<uint16_t> bits(const Vector& values, Type type) {
    std::vector<uint16_t> all;
    for (const float x : values) all.push_back(bits_of(x, type));
    return all;
  }
  Weight weight(const Vector& values, int64_t n) {
    if (p_.c.type == Type::kFp32) return {floats(values), Type::kFp32, n, p_.c.k};
    const std::vector<uint16_t> rows = bits(values, p_.c.type);
    if (p_.c.packed) {
      weights_.push_back(backend_.prepare_weight(rows.data(), p_.c.type, n, p_.c.k));
      return weights_.back();
    }
    return {upload(rows), p_.c.type, n, p_.c.k};
  }

  Backend& backend_;
  const Problem& p_;
  std::vector<void*> memory_;
  std::vector<Weight> weights_;
  std::vector<float*> outs_;
};

std::vector<Vector> run(const Device& device, const Problem& p, bool in_place = false) {
  const OnDevice on(device, p, in_place);
  device.backend->skinny_gemm(on.args);
  auto results = on.results();
  CHECK_EQ(device.failure(), "");
  return results;
}

Case prompt(Case c) {
  c.prompt = true;
  return c;
}

/** Runs it, expects so many products of the library, and compares with fp64. */
double check_products(
    const Device& device, const Case& c, int products, std::mt19937& random,
    bool in_place = false) {
  const Problem p(c, random);
  const int before = Device::matmuls();
  const auto got = run(device, p, in_place);
  if (before >= 0) {
    CHECK_MSG(
        Device::matmuls() - before == products, "m %ld, n %ld, k %ld: %d products, expected %d",
        static_cast<long>(c.m), static_cast<long>(c.n[0]), static_cast<long>(c.k),
        Device::matmuls() - before, products);
  }
  return p.check(got, "cuBLASLt");
}

}  // namespace

TEST(from_the_rules_rows_on_products_are_the_librarys) {
  auto random = seeded();
  const Device device;
#ifdef ESPALIER_ON_HARDWARE
  std::string why;
  const auto library = espalier::CublasLt::load(options().folders, 0, &why);
  std::printf(
      "  products are %s\n",
      library == nullptr
          ? ("our own: " + why).c_str()
          : ("cuBLASLt's: " + espalier::cublaslt_version_text(library->version())).c_str());
#endif
  for (const int64_t m : {kLeastRows - 1, kLeastRows, kLeastRows + 1})
    check_products(device, prompt({m, {20}, 40}), m >= kLeastRows ? 1 : 0, random);
}

TEST(within_the_bound_of_fp64_where_blocks_end) {
  auto random = seeded();
  const Device device;
  double worst = 0;
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const int64_t k : {1, 7, 31, 32, 33, 72, 330}) {
      for (const int64_t n : {2, 8, 15, 17, 130})
        worst = std::max(worst, check_products(device, prompt({72, {n}, k, type}), 1, random));
    }
    worst = std::max(worst, check_products(device, prompt({257, {20}, 40, type}), 1, random));
  }
  std::printf("  largest error: %.2f of the bound\n", worst);
}

TEST(norm_bias_gate_residual_and_parts_are_within_the_bound) {
  auto random = seeded();
  const Device device;
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const bool norm : {false, true}) {
      for (const bool bias : {false, true}) {
        for (const bool residual : {false, true}) {
          check_products(
              device, prompt({70, {35}, 72, type, false, bias, residual, norm}), 1, random);
          check_products(
              device, prompt({70, {35}, 72, type, true, bias, residual, norm}), 2, random);
          if (!residual) continue;
          check_products(
              device, prompt({70, {35}, 72, type, false, bias, true, norm}), 1, random, true);
          check_products(
              device, prompt({70, {35}, 72, type, true, bias, true, norm}), 2, random, true);
        }
        check_products(
            device, prompt({70, {150, 33, 16}, 72, type, false, bias, false, norm}), 3, random);
      }
    }
  }
}

TEST(large_weights_are_unpacked_in_blocks_of_rows) {
  auto random = seeded();
  // 64 rows of 96 columns for each block.
  const Device device(options(size_t{64} * 96 * 2));
  for (const bool bias : {false, true}) {
    check_products(device, prompt({70, {150}, 72, Type::kBf16, false, bias}), 3, random);
    check_products(device, prompt({70, {64, 128, 65}, 72, Type::kBf16, false, bias}), 5, random);
    check_products(device, prompt({70, {150}, 72, Type::kFp16, true, bias}), 6, random);
    for (const bool in_place : {false, true}) {
      check_products(
          device, prompt({70, {150}, 72, Type::kBf16, false, bias, true}), 3, random, in_place);
      check_products(
          device, prompt({70, {150}, 72, Type::kBf16, true, bias, true}), 6, random, in_place);
    }
  }
}

TEST(what_is_planned_holds_the_op) {
  auto random = seeded();
  for (const bool gate : {false, true}) {
    for (const bool in_place : {false, true}) {
      const Device device;  // one that grew no workspace before
      const Problem p(prompt({70, {35}, 72, Type::kBf16, gate, true, in_place, true}), random);
      const OnDevice on(device, p, in_place);
      CHECK(device.backend->begin_planning());
      device.backend->skinny_gemm(on.args);
      device.backend->end_planning();
      device.backend->skinny_gemm(on.args);
      p.check(on.results(), "planned");
      CHECK_EQ(device.failure(), "");
    }
  }
}

TEST(other_rows_and_weights_are_our_own_kernels) {
  auto random = seeded();
  const Device device;
  check_products(device, {90, {20}, 40}, 0, random);  // nodes of trees
  Case rows = prompt({90, {20}, 40});
  rows.packed = false;
  check_products(device, rows, 0, random);
  check_products(
      device, prompt({90, {20}, 40, Type::kFp32, false, false, false, false, false}), 0, random);
  check_products(
      device, prompt({90, {1}, 40, Type::kBf16, false, false, false, false, false}), 0, random);
  Problem none(prompt({90, {5}, 0, Type::kBf16, false, true}), random);
  none.c.packed = false;
  OnDevice on(device, none);
  on.args.part[0].w.packed = true;
  device.backend->skinny_gemm(on.args);
  const Vector got = on.results()[0];
  for (int64_t i = 0; i < 90 * 5; ++i) CHECK_EQ(got[i], none.bias[0][i % 5]);
  // Not told where to look.
  check_products(Device(CublasLtOptions{}), prompt({90, {20}, 40}), 0, random);
}

TEST(an_output_at_an_odd_address_is_our_own_kernels) {
  auto random = seeded();
  const Device device;
  const Problem p(prompt({70, {20}, 40}), random);
  OnDevice on(device, p);
  void* wide = device.backend->allocate(70 * 20 * 4 + 4);
  on.args.part[0].out = static_cast<float*>(wide) + 1;
  const int before = Device::matmuls();
  device.backend->skinny_gemm(on.args);
  Vector got(70 * 20);
  device.backend->download(got.data(), on.args.part[0].out, got.size() * 4);
  device.backend->release(wide);
  CHECK_EQ(Device::matmuls(), before);
  CHECK_EQ(device.failure(), "");
  p.check({got}, "own");
  check_products(device, p.c, 1, random);  // the library goes on
}

TEST(a_row_is_the_same_beside_others) {
  auto random = seeded();
  const Device device;
  const int64_t m = 200, n = 70;
  const Problem all(prompt({m, {n}, 96, Type::kBf16, true, true, false, true}), random);
  const Vector want = run(device, all)[0];
  for (const int64_t first : {0, 65, 128}) {
    const int64_t rows = std::min<int64_t>(m - first, 100);
    CHECK_MSG(
        same_bits(run(device, all.rows(first, rows))[0].data(), want.data() + first * n, rows * n),
        "rows %ld .. %ld", static_cast<long>(first), static_cast<long>(first + rows - 1));
  }
}

TEST(nan_stays_in_its_row) {
  auto random = seeded();
  const Device device;
  Problem p(prompt({130, {18}, 40, Type::kBf16, false, false, false, true}), random);
  const Vector clean = run(device, p)[0];
  p.x[100 * 40 + 39] = std::numeric_limits<float>::quiet_NaN();
  const Vector got = run(device, p)[0];
  for (int64_t i = 0; i < 130 * 18; ++i) {
    CHECK_EQ(std::isnan(got[i]), i / 18 == 100);
    if (i / 18 != 100) CHECK(same_bits(&got[i], &clean[i], 1));
  }
}

TEST(products_are_captured_and_replayed) {
  auto random = seeded();
  const Device device;
  const Problem p(prompt({70, {35}, 72, Type::kBf16, true, true, false, true}), random);
  const Vector want = run(device, p)[0];
  const OnDevice on(device, p);
  const std::vector<float> poison(70 * 35, std::nanf(""));
  for (int i = 0; i < 4; ++i) {
    device.backend->upload(on.args.part[0].out, poison.data(), poison.size() * 4);
    if (device.backend->begin_step(1, {70})) {
      device.backend->skinny_gemm(on.args);
      device.backend->end_step();
    } else {
      CHECK(i >= 2);
    }
    CHECK_MSG(same_bits(on.results()[0], want), "step %d", i);
    CHECK_EQ(device.failure(), "");
  }
}

#ifndef ESPALIER_ON_HARDWARE

TEST(an_algorithm_is_chosen_when_a_session_plans_and_then_no_memory_is_taken) {
  auto random = seeded();
  const Device device;
  const Problem most(prompt({90, {150, 33}, 72, Type::kBf16, false, true, false, true}), random);
  const OnDevice on(device, most);
  auto& fake = espalier_test::fake_library();
  CHECK(device.backend->begin_planning());
  device.backend->skinny_gemm(on.args);
  device.backend->end_planning();
  CHECK_EQ(fake.heuristics, 2);
  CHECK_EQ(fake.algorithm_rows, 96);
  CHECK_EQ(fake.matmuls, 0);
  const auto before = simt::emulated::counts();
  for (const int64_t m : {90, 70, 81}) {
    SkinnyGemmArgs fewer = on.args;
    fewer.m = m;
    device.backend->skinny_gemm(fewer);
  }
  CHECK_EQ(simt::emulated::counts().waits, before.waits);
  on.results();
  CHECK_EQ(simt::emulated::counts().allocations, before.allocations);
  CHECK_EQ(fake.heuristics, 2);
  CHECK_EQ(fake.matmuls, 6);
  CHECK_EQ(device.failure(), "");
}

TEST(a_library_that_refuses_leaves_our_own_kernels_and_the_reason) {
  auto random = seeded();
  auto& fake = espalier_test::fake_library();
  const auto why = [] { return espalier::cublaslt_state(0, 90, {espalier_test::kFakeFolder}); };
  for (const bool gate : {false, true}) {
    // The first product, and up's.
    for (const int refused : {0, 1}) {
      const Device device;
      fake.refused_matmul = refused;
      const Case c = prompt({70, {35}, 72, Type::kBf16, gate, true, true, true});
      check_products(device, c, gate ? refused + 1 : 1, random, !gate);
      if (!gate && refused == 1) {  // that one was the next op's
        CHECK_EQ(why(), "cuBLASLt 13.1.0 from 2048 rows of a pass on, own kernels below");
        check_products(device, c, 1, random);
      }
      CHECK_EQ(why(), "own kernels: cublasLtMatmul: status 15");
      check_products(device, c, 0, random);
      CHECK_EQ(fake.handles, 0);
    }
  }
  const Device again;
  check_products(again, prompt({70, {35}, 72}), 1, random);
  CHECK_EQ(why(), "cuBLASLt 13.1.0 from 2048 rows of a pass on, own kernels below");
}

TEST(a_refusal_behind_outputs_that_were_their_own_residual_is_a_failure) {
  auto random = seeded();
  const Device device(options(size_t{64} * 96 * 2));
  espalier_test::fake_library().refused_matmul = 1;
  const Problem p(prompt({70, {150}, 72, Type::kBf16, false, false, true}), random);
  const OnDevice on(device, p, true);
  device.backend->skinny_gemm(on.args);
  CHECK_EQ(device.failure(), "cublasLtMatmul: status 15");
  espalier_test::fake_library().refused_matmul = -1;
  // A residual of its own is still there, and all is done again.
  espalier_test::fake_library().matmuls = 0;
  const Device other(options(size_t{64} * 96 * 2));
  espalier_test::fake_library().refused_matmul = 1;
  check_products(other, p.c, 2, random);
}

TEST(without_an_algorithm_a_device_or_a_library_kernels_are_our_own) {
  auto random = seeded();
  auto& fake = espalier_test::fake_library();
  const auto check_own = [&](const CublasLtOptions& of, const char* why) {
    const Device device(of);
    fake.create_status = std::strcmp(why, "cublasLtCreate: status 1") == 0 ? 1 : 0;
    fake.heuristic_status = std::strncmp(why, "cublasLtMatmulAlgo", 18) == 0 ? 15 : 0;
    check_products(device, prompt({70, {35}, 72}), 0, random);
    fake.reset();
    CHECK_EQ(espalier::cublaslt_state(0, 100, of.folders), "own kernels: " + std::string(why));
  };
  CublasLtOptions none = options();
  none.folders = {"/nowhere"};
  check_own(none, "libcublasLt.so.13 and .12 not found");
  CublasLtOptions later = options();
  later.rule.least_version = 140000;
  check_own(later, "cuBLASLt = 13.1.0, expected 14.0.0 or later");
  check_own(options(), "cublasLtCreate: status 1");
  check_own(
      options(), "cublasLtMatmulAlgoGetHeuristic: status 15, 0 algorithms for n = 35, k = 96");
}

TEST(what_is_used_is_told) {
  espalier::note_cublaslt(0, "");
  espalier_test::fake_library().reset();
  const std::vector<std::string> fake = {espalier_test::kFakeFolder};
  CHECK_EQ(
      espalier::cublaslt_state(0, 100, fake),
      "cuBLASLt 13.1.0 from 257 rows of a pass on, own kernels below");
  CHECK_EQ(
      espalier::cublaslt_state(0, 80, fake),
      "own kernels: cuBLASLt is not expected to be faster on sm_80");
  CHECK_EQ(
      espalier::cublaslt_state(0, 90, {"/nowhere"}),
      "own kernels: libcublasLt.so.13 and .12 not found");
  espalier::note_cublaslt(1, "it failed");
  CHECK_EQ(espalier::cublaslt_state(1, 90, fake), "own kernels: it failed");
  CHECK_EQ(
      espalier::cublaslt_state(0, 90, fake),
      "cuBLASLt 13.1.0 from 2048 rows of a pass on, own kernels below");
  espalier::note_cublaslt(1, "");
  setenv("ESPALIER_CUBLASLT", "0", 1);
  CHECK_EQ(espalier::cublaslt_state(0, 90, fake), "own kernels: ESPALIER_CUBLASLT = 0");
  unsetenv("ESPALIER_CUBLASLT");
}

#endif
