// cuBLASLt as it is found: what is taken, what is left alone and why, and that the product asked for is the one that is meant.
#include "gemm/cublaslt.h"

#include <dlfcn.h>

#include <cstdlib>
#include <random>

#include "check.h"
#include "cpu/convert.h"
#include "fake_cublaslt.h"

using namespace espalier;

namespace {

const std::vector<std::string> kFake = {ESPALIER_FAKE_CUBLASLT};
constexpr size_t kLeast = 120000;

FakeCublasLt& fake() {
  static auto* found = static_cast<FakeCublasLt*>(dlsym(
      dlopen((kFake[0] + "/libcublasLt.so.13").c_str(), RTLD_NOW | RTLD_LOCAL), "fake_cublaslt"));
  return *found;
}

/** The stand-in, or the machine's, opened. */
std::unique_ptr<CublasLt> opened() {
  fake().reset();
  std::string why;
  auto lt = CublasLt::load(kFake, kLeast, &why);
  REQUIRE(lt != nullptr);
  CHECK_EQ(lt->open(), "");
  return lt;
}

std::string why_not(const std::vector<std::string>& folders, size_t least = kLeast) {
  std::string why;
  const auto lt = CublasLt::load(folders, least, &why);
  CHECK((lt == nullptr) == !why.empty());
  return why;
}

/** Memory at a multiple of 256 bytes. */
template <class T>
class Aligned {
 public:
  explicit Aligned(size_t num)
      : data_(static_cast<T*>(std::aligned_alloc(256, (num * sizeof(T) + 511) / 256 * 256))) {}
  ~Aligned() { std::free(data_); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  T* data_;
};

}  // namespace

TEST(a_library_is_found_or_the_reason_is_known) {
  fake().reset();
  CHECK_EQ(why_not(kFake), "");
  CHECK_EQ(why_not({"/nowhere"}), "libcublasLt.so.13 and .12 not found");
  CHECK_EQ(why_not({"/nowhere", kFake[0]}), "");
  CHECK_EQ(why_not({ESPALIER_HOLLOW_CUBLASLT, kFake[0]}), "libcublasLt lacks cublasLtMatmul");
  fake().version = 110902;
  CHECK_EQ(why_not(kFake), "cuBLASLt = 11.9.2, expected 12.0.0 or later");
  CHECK_EQ(why_not(kFake, 110902), "");
  fake().reset();
  fake().create_status = 1;
  std::string why;
  const auto lt = CublasLt::load(kFake, kLeast, &why);
  CHECK_EQ(lt->open(), "cublasLtCreate: status 1");
  CHECK_EQ(cublaslt_version_text(lt->version()), "13.1.0");
}

TEST(folders_are_the_toolkits_and_the_systems) {
  const auto with = [](const char* path, const char* home) {
    path == nullptr ? unsetenv("CUDA_PATH") : setenv("CUDA_PATH", path, 1);
    home == nullptr ? unsetenv("CUDA_HOME") : setenv("CUDA_HOME", home, 1);
    return cublaslt_folders();
  };
  using Folders = std::vector<std::string>;
  const char *path = std::getenv("CUDA_PATH"), *home = std::getenv("CUDA_HOME");
  const std::string path_before = path == nullptr ? "" : path,
                    home_before = home == nullptr ? "" : home;
  CHECK((with(nullptr, nullptr) == Folders{""}));
  CHECK((with("/a", "/b") == Folders{"/a/lib64", "/b/lib64", ""}));
  CHECK((with("", "/b") == Folders{"/b/lib64", ""}));
  with(
      path == nullptr ? nullptr : path_before.c_str(),
      home == nullptr ? nullptr : home_before.c_str());
}

TEST(it_can_be_switched_off) {
  unsetenv("ESPALIER_CUBLASLT");
  CHECK(cublaslt_switched_on());
  setenv("ESPALIER_CUBLASLT", "0", 1);
  CHECK(!cublaslt_switched_on());
  setenv("ESPALIER_CUBLASLT", "1", 1);
  CHECK(cublaslt_switched_on());
  unsetenv("ESPALIER_CUBLASLT");
}

TEST(cards_have_their_rule) {
  CHECK_EQ(cublaslt_rule(80).least_rows, 0);
  CHECK_EQ(cublaslt_rule(86).least_rows, 0);
  CHECK_EQ(cublaslt_rule(89).least_rows, 0);
  CHECK_EQ(cublaslt_rule(90).least_rows, 2048);
  CHECK_EQ(cublaslt_rule(100).least_rows, 257);
  CHECK_EQ(cublaslt_rule(103).least_rows, 257);
  CHECK_EQ(cublaslt_rule(120).least_rows, 0);
  CHECK_EQ(cublaslt_rule(0).least_rows, 0);
}

TEST(the_product_is_the_one_that_is_meant) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  std::uniform_int_distribution<int> whole(-4, 4);
  const auto lt = opened();
  const Aligned<char> workspace(CublasLt::kWorkspaceBytes);
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const bool with_c : {false, true}) {
      const int64_t m = 5, n = 3, k = 32, ld = 7;
      const Aligned<uint16_t> x(m * k), w(n * k);
      const auto fill = [&](const Aligned<uint16_t>& matrix, int64_t num) {
        std::vector<float> values(static_cast<size_t>(num));
        for (int64_t i = 0; i < num; ++i) {
          values[i] = static_cast<float>(whole(random));
          Bf16 bf16;
          Fp16 fp16;
          from_float(values[i], &bf16);
          from_float(values[i], &fp16);
          matrix[i] = type == Type::kBf16 ? bf16.bits : fp16.bits;
        }
        return values;
      };
      const std::vector<float> of_x = fill(x, m * k), of_w = fill(w, n * k);
      const Aligned<float> c(m * ld), d(m * ld);
      for (int64_t i = 0; i < m * ld; ++i) {
        c[i] = static_cast<float>(whole(random));
        d[i] = 100;
      }
      const CublasLt::Product product{type, n, k, ld};
      CHECK_EQ(lt->prepare(product, 512), "");
      CHECK_EQ(
          lt->multiply(
              product, m, x.data(), w.data(), with_c ? c.data() : nullptr, d.data(),
              workspace.data(), nullptr),
          "");
      for (int64_t i = 0; i < m * ld; ++i) {
        const int64_t row = i / ld, col = i % ld;
        float want = col < n ? (with_c ? c[i] : 0) : 100;
        for (int64_t j = 0; j < k && col < n; ++j) want += of_x[row * k + j] * of_w[col * k + j];
        CHECK_EQ(d[i], want);
      }
    }
  }
}

TEST(an_algorithm_is_chosen_once_for_a_product) {
  {
    const auto lt = opened();
    const CublasLt::Product product{Type::kBf16, 24, 64, 24};
    for (int i = 0; i < 3; ++i) CHECK_EQ(lt->prepare(product, 512), "");
    CHECK_EQ(fake().heuristics, 1);
    CHECK_EQ(fake().algorithm_rows, 512);
    for (const CublasLt::Product& other :
         {CublasLt::Product{Type::kFp16, 24, 64, 24}, CublasLt::Product{Type::kBf16, 25, 64, 25},
          CublasLt::Product{Type::kBf16, 24, 96, 24}, CublasLt::Product{Type::kBf16, 24, 64, 48}}) {
      CHECK_EQ(lt->prepare(other, 512), "");
    }
    CHECK_EQ(fake().heuristics, 5);
    fake().heuristic_status = 15;
    CHECK_EQ(
        lt->prepare({Type::kBf16, 8, 32, 8}, 512),
        "cublasLtMatmulAlgoGetHeuristic: status 15, 0 algorithms for n = 8, k = 32");
    CHECK_EQ(lt->prepare({Type::kBf16, 8, 32, 4}, 512), "cublasLtMatrixLayoutCreate: status 7");
  }
  // Everything was given back.
  CHECK_EQ(fake().handles, 0);
  CHECK_EQ(fake().objects, 0);
}

TEST(a_refused_product_says_so) {
  const auto lt = opened();
  const Aligned<char> memory(CublasLt::kWorkspaceBytes);
  const CublasLt::Product product{Type::kBf16, 8, 32, 8};
  CHECK_EQ(lt->prepare(product, 512), "");
  fake().refused_matmul = 0;
  const Aligned<uint16_t> operand(8 * 32);
  const Aligned<float> d(8 * 8);
  CHECK_EQ(
      lt->multiply(
          product, 8, operand.data(), operand.data(), nullptr, d.data(), memory.data(), nullptr),
      "cublasLtMatmul: status 15");
}

TEST(the_machines_own_takes_our_descriptors) {
  std::string why;
  const auto lt = CublasLt::load(cublaslt_folders(), kLeast, &why);
  if (lt == nullptr) {
    std::printf("  skipped: %s\n", why.c_str());
    return;
  }
  std::printf("  cuBLASLt %s\n", cublaslt_version_text(lt->version()).c_str());
  // What needs no device. A size or an attribute that it does not know is refused.
  const lt::Functions& f = lt->functions();
  void *desc = nullptr, *layout = nullptr, *preference = nullptr;
  CHECK_EQ(f.desc_create(&desc, lt::kFp32Sums, lt::kFp32), 0);
  CHECK_EQ(f.desc_set(desc, lt::kDescTransA, &lt::kTransposed, 4), 0);
  CHECK(f.desc_set(desc, lt::kDescTransA, &lt::kTransposed, 2) != 0);
  CHECK_EQ(f.layout_create(&layout, lt::kBf16, 64, 24, 64), 0);
  const uint64_t cols = 7, bytes = CublasLt::kWorkspaceBytes;
  CHECK_EQ(f.layout_set(layout, lt::kLayoutCols, &cols, 8), 0);
  CHECK(f.layout_set(layout, lt::kLayoutCols, &cols, 4) != 0);
  CHECK_EQ(f.preference_create(&preference), 0);
  CHECK_EQ(f.preference_set(preference, lt::kPrefWorkspace, &bytes, 8), 0);
  CHECK_EQ(f.preference_set(preference, lt::kPrefReductions, &lt::kNoReduction, 4), 0);
  const uint32_t alignment = CublasLt::kOutAlignment;
  CHECK_EQ(f.preference_set(preference, lt::kPrefAlignC, &alignment, 4), 0);
  CHECK_EQ(f.preference_set(preference, lt::kPrefAlignD, &alignment, 4), 0);
  CHECK(f.preference_set(preference, lt::kPrefAlignD, &alignment, 8) != 0);
  CHECK_EQ(f.preference_destroy(preference), 0);
  CHECK_EQ(f.layout_destroy(layout), 0);
  CHECK_EQ(f.desc_destroy(desc), 0);
}
