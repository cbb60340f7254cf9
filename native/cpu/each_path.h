// Compiles the kernels of the file that ESPALIER_KERNEL names once for each path: in the namespaces
// plain, avx2 and avx512, with that path's vector. Kernels use no inline function of a library
// header, so that no copy of one that was compiled for AVX-512 can take the place of the plain one
// when the library is linked.
#include <cstdint>

#include "cpu/convert.h"

#if defined(__x86_64__)
// g++ 12 takes the undefined operands of its own intrinsics for uninitialized variables.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

// The order of these includes matters.
// clang-format off
namespace espalier::plain {
#include "cpu/vec_plain.h"
#include "cpu/vec_common.h"
#include ESPALIER_KERNEL
}  // namespace espalier::plain

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace espalier::avx2 {
#include "cpu/vec_avx2.h"
#include "cpu/vec_common.h"
#include ESPALIER_KERNEL
}  // namespace espalier::avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
namespace espalier::avx512 {
#include "cpu/vec_avx512.h"
#include "cpu/vec_common.h"
#include ESPALIER_KERNEL
}  // namespace espalier::avx512
#pragma GCC pop_options
#endif
// clang-format on
