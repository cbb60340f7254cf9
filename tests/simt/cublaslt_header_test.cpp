// What gemm/cublaslt.h states itself is what the toolkit's cublasLt.h says. Compiled where that header is; nothing else includes it.
#include <cublasLt.h>

#include <type_traits>

#include "check.h"
#include "gemm/cublaslt.h"

namespace lt = espalier::lt;

namespace {

/** Whether a parameter of ours is passed as theirs is: an enum is an int, a descriptor a pointer to anything. */
template <class Ours, class Theirs>
constexpr bool passes() {
  if (std::is_pointer_v<Ours> || std::is_pointer_v<Theirs>)
    return std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>;
  if (std::is_enum_v<Theirs>) return std::is_same_v<Ours, int> && sizeof(Theirs) == sizeof(int);
  return std::is_same_v<Ours, Theirs>;
}

template <class Ours, class Theirs>
struct Same : std::false_type {};
template <class R, class... P, class S, class... Q>
struct Same<R (*)(P...), S(Q...)> {
  static constexpr bool parameters() {
    if constexpr (sizeof...(P) == sizeof...(Q)) {
      return (passes<P, Q>() && ...);
    } else {
      return false;
    }
  }
  static constexpr bool value = passes<R, S>() && parameters();
};

#define SAME(ours, theirs) \
  static_assert(Same<decltype(lt::Functions::ours), decltype(theirs)>::value)
SAME(get_version, cublasLtGetVersion);
SAME(create, cublasLtCreate);
SAME(destroy, cublasLtDestroy);
SAME(desc_create, cublasLtMatmulDescCreate);
SAME(desc_destroy, cublasLtMatmulDescDestroy);
SAME(desc_set, cublasLtMatmulDescSetAttribute);
SAME(layout_create, cublasLtMatrixLayoutCreate);
SAME(layout_destroy, cublasLtMatrixLayoutDestroy);
SAME(layout_set, cublasLtMatrixLayoutSetAttribute);
SAME(preference_create, cublasLtMatmulPreferenceCreate);
SAME(preference_destroy, cublasLtMatmulPreferenceDestroy);
SAME(preference_set, cublasLtMatmulPreferenceSetAttribute);
SAME(get_heuristic, cublasLtMatmulAlgoGetHeuristic);
SAME(matmul, cublasLtMatmul);

static_assert(lt::kSuccess == CUBLAS_STATUS_SUCCESS);
static_assert(lt::kFp32 == CUDA_R_32F && lt::kFp16 == CUDA_R_16F && lt::kBf16 == CUDA_R_16BF);
static_assert(lt::kFp32Sums == CUBLAS_COMPUTE_32F);
static_assert(lt::kTransposed == CUBLAS_OP_T);
static_assert(lt::kDescTransA == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(lt::kLayoutCols == CUBLASLT_MATRIX_LAYOUT_COLS);
static_assert(lt::kPrefWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(lt::kPrefReductions == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(lt::kPrefAlignC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(lt::kPrefAlignD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(lt::kNoReduction == CUBLASLT_REDUCTION_SCHEME_NONE);

static_assert(sizeof(lt::Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(alignof(lt::Algorithm) == alignof(cublasLtMatmulAlgo_t));
using Theirs = cublasLtMatmulHeuristicResult_t;
static_assert(sizeof(lt::Heuristic) == sizeof(Theirs));
static_assert(offsetof(lt::Heuristic, algorithm) == offsetof(Theirs, algo));
static_assert(offsetof(lt::Heuristic, workspace_bytes) == offsetof(Theirs, workspaceSize));
static_assert(offsetof(lt::Heuristic, state) == offsetof(Theirs, state));
static_assert(offsetof(lt::Heuristic, waves) == offsetof(Theirs, wavesCount));

}  // namespace

TEST(our_declarations_are_those_of_the_header) {
  std::printf(
      "  cublasLt.h of cuBLAS %d.%d.%d\n", CUBLAS_VER_MAJOR, CUBLAS_VER_MINOR, CUBLAS_VER_PATCH);
  CHECK_EQ(lt::kFp32Sums, static_cast<int>(CUBLAS_COMPUTE_32F));
}
