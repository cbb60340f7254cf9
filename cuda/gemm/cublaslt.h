// cuBLASLt of this machine, for a prompt's products: looked for when it is wanted, by the functions that are declared here. Nothing
// is linked against it, and nothing is compiled against its header; tests/simt/cublaslt_header_test.cpp compares the two.
#ifndef ESPALIER_CUDA_GEMM_CUBLASLT_H
#define ESPALIER_CUDA_GEMM_CUBLASLT_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "ops/ops.h"

namespace espalier {

/** What we take of cublasLt.h: functions with its enums as int and its descriptors as void*, structs, and values. */
namespace lt {

constexpr int kSuccess = 0;                      // CUBLAS_STATUS_SUCCESS
constexpr int kFp32 = 0, kFp16 = 2, kBf16 = 14;  // CUDA_R_32F, _16F, _16BF
constexpr int kFp32Sums = 68;                    // CUBLAS_COMPUTE_32F
constexpr int32_t kTransposed = 1;               // CUBLAS_OP_T
constexpr int kDescTransA = 3;                   // CUBLASLT_MATMUL_DESC_TRANSA
constexpr int kLayoutCols = 3;                   // CUBLASLT_MATRIX_LAYOUT_COLS
constexpr int kPrefWorkspace = 1;                // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
constexpr int kPrefReductions = 3;               // ..._REDUCTION_SCHEME_MASK
constexpr int kPrefAlignC = 7, kPrefAlignD = 8;  // ..._MIN_ALIGNMENT_C_BYTES, _D_
constexpr uint32_t kNoReduction = 0;             // CUBLASLT_REDUCTION_SCHEME_NONE

struct Algorithm {
  uint64_t data[8];
};

struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

struct Functions {
  size_t (*get_version)();
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*desc_create)(void** desc, int compute_type, int scale_type);
  int (*desc_destroy)(void* desc);
  int (*desc_set)(void* desc, int attribute, const void* value, size_t bytes);
  int (*layout_create)(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
  int (*layout_destroy)(void* layout);
  int (*layout_set)(void* layout, int attribute, const void* value, size_t bytes);
  int (*preference_create)(void** preference);
  int (*preference_destroy)(void* preference);
  int (*preference_set)(void* preference, int attribute, const void* value, size_t bytes);
  int (*get_heuristic)(
      void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference, int wanted,
      Heuristic* results, int* num);
  int (*matmul)(
      void* handle, void* desc, const void* alpha, const void* a, void* layout_a, const void* b,
      void* layout_b, const void* beta, const void* c, void* layout_c, void* d, void* layout_d,
      const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream);
};

}  // namespace lt

/** When a card's prompts are multiplied by cuBLASLt. docs/kernels/prefill_gemm.md derives the numbers. */
struct CublasLtRule {
  int64_t least_rows = 0;  // of a pass; 0 for never
  int64_t algorithm_rows =
      0;  // an algorithm is chosen for so many rows, and used for any number of them
  size_t least_version = 0;  // as cublasLtGetVersion counts: 120800 is 12.8
};
CublasLtRule cublaslt_rule(int capability);

/** What a backend may take of cuBLASLt. */
struct CublasLtOptions {
  std::vector<std::string> folders;  // where it is looked for; none, and it is not
  CublasLtRule rule;
  size_t unpacked_bytes = size_t{128} << 20;  // most of a weight that lies unpacked at a time
};

/** Folders of a toolkit that CUDA_PATH or CUDA_HOME names, then the empty one, for where the system looks. */
std::vector<std::string> cublaslt_folders();

/** Whether the environment leaves it on: ESPALIER_CUBLASLT is not 0. */
bool cublaslt_switched_on();

/** 130100 as 13.1.0. */
std::string cublaslt_version_text(size_t version);

/** Keeps why a device does without it from now on, as a product that was refused; empty when it does not. From any thread. */
void note_cublaslt(int device, const std::string& why);

/** What multiplies a device's prompts: cuBLASLt and its version, or own kernels and why. It loads the library, and asks no device. */
std::string cublaslt_state(int device, int capability, const std::vector<std::string>& folders);

/**
 * The library, and the products that it was asked for. Everything but multiply is the host's alone and takes no memory of the
 * device, except that `open` makes what the library needs of its own. Texts say why something did not work; empty is well.
 */
class CublasLt {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;
  static constexpr uint32_t kOutAlignment = 16;  // of c and d
  static constexpr size_t kOperandAlignment =
      256;  // of x and w, as is assumed unless said otherwise

  /** d [m, n] = x [m, k] w [n, k]^T (+ c), row major, in fp32; x and w of 16 bits without gaps, rows of c and d `ld` apart. */
  struct Product {
    Type type;
    int64_t n, k, ld;

    bool operator<(const Product& other) const {
      return std::tie(type, n, k, ld) < std::tie(other.type, other.n, other.k, other.ld);
    }
  };

  /** The first library of the folders that can be loaded; null where it is none, too old, or lacks a function. */
  static std::unique_ptr<CublasLt> load(
      const std::vector<std::string>& folders, size_t least_version, std::string* why);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  size_t version() const { return functions_.get_version(); }
  const lt::Functions& functions() const { return functions_; }

  /** Binds it to the calling thread's device. */
  std::string open();

  /** Chooses the product's algorithm, for so many rows; nothing the second time. */
  std::string prepare(const Product& product, int64_t algorithm_rows);

  /** Enqueues a product that was prepared. c may be null, or d. workspace has kWorkspaceBytes. */
  std::string multiply(
      const Product& product, int64_t m, const void* x, const void* w, const float* c, float* d,
      void* workspace, void* stream);

 private:
  /** What the library keeps of a product: layouts of its column-major view, and the algorithm. */
  struct Plan {
    void *w = nullptr, *x = nullptr, *d = nullptr;
    lt::Algorithm algorithm{};
  };

  CublasLt() = default;
  std::string resolve(void* library, size_t least_version);
  std::string choose(const Product& product, int64_t algorithm_rows, Plan* plan);
  void release(const Plan& plan) const;

  lt::Functions functions_{};
  void* handle_ = nullptr;
  void* desc_ = nullptr;
  std::map<Product, Plan> plans_;
};

}  // namespace espalier

#endif
