// cuBLAS of this machine as a peer, found when the program runs: 570 MB that nothing here is linked against.
#ifndef ESPALIER_TESTS_BENCH_GPU_CUBLAS_H
#define ESPALIER_TESTS_BENCH_GPU_CUBLAS_H

#include <dlfcn.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace espalier_bench {

class CuBlas {
 public:
  /**
   * Loads libcublas from the first of `folders` that has it, else from where the system looks; null with the reason.
   * Its work goes to `stream`, a cudaStream_t, and its split sums to `workspace`.
   */
  static std::unique_ptr<CuBlas> find(
      const std::vector<std::string>& folders, void* stream, void* workspace,
      size_t workspace_bytes, std::string* why) {
    std::unique_ptr<CuBlas> found(new CuBlas);
    *why = found->load(folders);
    if (why->empty()) *why = found->open(stream, workspace, workspace_bytes);
    return why->empty() ? std::move(found) : nullptr;
  }
  ~CuBlas() {
    if (handle_ != nullptr) destroy_(handle_);
  }
  CuBlas(const CuBlas&) = delete;
  CuBlas& operator=(const CuBlas&) = delete;

  int version() const { return version_; }

  /** Enqueues y [m, n] = x [m, k] w [n, k]^T, bf16 and row major, sums in fp32; empty, or why not. */
  std::string multiply(
      const void* x, const void* w, void* y, int64_t m, int64_t n, int64_t k) const {
    // It counts by columns, so a row-major y is its y^T [n, m] = w^T^T x^T.
    constexpr int kTransposed = 1, kAsItIs = 0, kBf16 = 14, kFp32Sums = 68, kItsChoice = -1;
    const float one = 1, zero = 0;
    const int status = gemm_(
        handle_, kTransposed, kAsItIs, static_cast<int>(n), static_cast<int>(m),
        static_cast<int>(k), &one, w, kBf16, static_cast<int>(k), x, kBf16, static_cast<int>(k),
        &zero, y, kBf16, static_cast<int>(n), kFp32Sums, kItsChoice);
    return status == 0 ? "" : "cublasGemmEx: status " + std::to_string(status);
  }

 private:
  CuBlas() = default;

  std::string load(const std::vector<std::string>& folders) {
    std::vector<std::string> places;
    for (const std::string& folder : folders) places.push_back(folder + "/");
    places.emplace_back();
    for (const std::string& place : places) {
      for (const char* version : {".so.13", ".so.12", ".so"}) {
        // Its other half first: that is looked for where the system looks, and may lie beside it.
        dlopen((place + "libcublasLt" + version).c_str(), RTLD_NOW | RTLD_GLOBAL);
        void* library = dlopen((place + "libcublas" + version).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library != nullptr) return resolve(library);
      }
    }
    return "libcublas.so.13 and .12 not found";
  }

  std::string resolve(void* library) {
    const auto take = [&](const char* name, auto* function) {
      void* symbol = dlsym(library, name);
      *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(symbol);
      return symbol != nullptr;
    };
    const bool all = take("cublasCreate_v2", &create_) && take("cublasDestroy_v2", &destroy_) &&
                     take("cublasGetVersion_v2", &get_version_) &&
                     take("cublasSetStream_v2", &set_stream_) &&
                     take("cublasSetWorkspace_v2", &set_workspace_) && take("cublasGemmEx", &gemm_);
    return all ? "" : "libcublas lacks a function that it should have";
  }

  std::string open(void* stream, void* workspace, size_t workspace_bytes) {
    void* handle = nullptr;
    const int status = create_(&handle);
    if (status != 0) return "cublasCreate: status " + std::to_string(status);
    handle_ = handle;
    if (get_version_(handle_, &version_) != 0 || set_stream_(handle_, stream) != 0 ||
        set_workspace_(handle_, workspace, workspace_bytes) != 0) {
      return "cuBLAS takes no stream";
    }
    return "";
  }

  // As cublas_api.h declares them; enums are int, statuses are 0 where all is well.
  int (*create_)(void** handle) = nullptr;
  int (*destroy_)(void* handle) = nullptr;
  int (*get_version_)(void* handle, int* version) = nullptr;
  int (*set_stream_)(void* handle, void* stream) = nullptr;
  int (*set_workspace_)(void* handle, void* workspace, size_t bytes) = nullptr;
  int (*gemm_)(
      void* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a,
      int type_a, int lda, const void* b, int type_b, int ldb, const void* beta, void* c,
      int type_c, int ldc, int compute_type, int algorithm) = nullptr;
  void* handle_ = nullptr;
  int version_ = 0;
};

}  // namespace espalier_bench

#endif
