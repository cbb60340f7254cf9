// The few functions of cuBLAS that cublas.h takes, on the host and column by column, to test that it asks for the product it means.
#include <cstddef>
#include <cstdint>
#include <cstring>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

int handle;

float value(const void* matrix, int64_t i) {
  const auto bits = static_cast<uint32_t>(static_cast<const uint16_t*>(matrix)[i]) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

}  // namespace

EXPORTED int cublasCreate_v2(void** out) { return *out = &handle, 0; }
EXPORTED int cublasDestroy_v2(void* of) { return of == &handle ? 0 : 1; }
EXPORTED int cublasGetVersion_v2(void*, int* version) { return *version = 130100, 0; }
EXPORTED int cublasSetStream_v2(void* of, void* stream) {
  return of == &handle && stream == reinterpret_cast<void*>(7) ? 0 : 1;
}
EXPORTED int cublasSetWorkspace_v2(void* of, void* workspace, size_t bytes) {
  return of == &handle && workspace != nullptr && bytes > 0 ? 0 : 7;
}

/** c = alpha op(a) op(b) + beta c; exact bf16 results are expected of its user. */
EXPORTED int cublasGemmEx(
    void* of, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int type_a,
    int lda, const void* b, int type_b, int ldb, const void* beta, void* c, int type_c, int ldc,
    int compute_type, int algorithm) {
  if (of != &handle || type_a != 14 || type_b != 14 || type_c != 14) return 7;
  if (compute_type != 68 || algorithm != -1) return 15;
  if (lda < (op_a == 0 ? m : k) || ldb < (op_b == 0 ? k : n) || ldc < m) return 7;
  for (int j = 0; j < n; ++j) {
    for (int i = 0; i < m; ++i) {
      float sum = 0;
      for (int l = 0; l < k; ++l) {
        sum += value(a, op_a == 0 ? i + int64_t{l} * lda : l + int64_t{i} * lda) *
               value(b, op_b == 0 ? l + int64_t{j} * ldb : j + int64_t{l} * ldb);
      }
      const int64_t at = i + int64_t{j} * ldc;
      sum *= *static_cast<const float*>(alpha);
      const float scale = *static_cast<const float*>(beta);
      if (scale != 0) sum += scale * value(c, at);
      uint32_t bits;
      std::memcpy(&bits, &sum, 4);
      static_cast<uint16_t*>(c)[at] = static_cast<uint16_t>(bits >> 16);
    }
  }
  return 0;
}
