// A libcublasLt for tests: what it was asked for, and what it shall answer. It multiplies on the host, and refuses what the
// library's documentation does not allow or what we never mean.
#ifndef ESPALIER_TESTS_SIMT_FAKE_CUBLASLT_H
#define ESPALIER_TESTS_SIMT_FAKE_CUBLASLT_H

#include <cstddef>
#include <cstdint>
#include <functional>

/** The library exports one, `fake_cublaslt`. */
struct FakeCublasLt {
  size_t version = 130100;
  int create_status = 0, heuristic_status = 0;
  int refused_matmul = -1;  // the call that is refused, counted from 0
  /** Puts work into the stream; null where it is to run at once. */
  void (*enqueue)(void* stream, std::function<void()> work) = nullptr;

  // Since the last reset.
  int matmuls = 0, heuristics = 0;
  int64_t algorithm_rows = 0;  // of the last heuristic
  // Now.
  int handles = 0, objects = 0;

  void reset() {
    version = 130100;
    create_status = heuristic_status = 0;
    refused_matmul = -1;
    matmuls = heuristics = 0;
    algorithm_rows = 0;
  }
};

#endif
