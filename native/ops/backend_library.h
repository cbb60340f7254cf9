// A backend in a shared library of its own, such as libespalier_cuda.so: what the library exports. Nothing is thrown from
// one library into the other, and neither needs the other's symbols: each may have a C++ runtime of its own.
#ifndef ESPALIER_OPS_BACKEND_LIBRARY_H
#define ESPALIER_OPS_BACKEND_LIBRARY_H

#include <cstdio>
#include <exception>
#include <new>
#include <type_traits>

#include "ops/ops.h"

namespace espalier {

/** Changes with this file and with ops.h: libraries of different numbers do not work together. */
constexpr uint32_t kBackendAbi = 1;

/** Runs the body; what it throws becomes the failure. */
template <class Body>
auto caught(Failure* failure, Body&& body) noexcept -> decltype(body()) {
  const auto keep = [&](espalier_status status, const char* text) {
    failure->status = status;
    std::snprintf(failure->text, sizeof failure->text, "%s", text);
  };
  try {
    return body();
  } catch (const std::bad_alloc&) {
    keep(ESPALIER_OUT_OF_MEMORY, "out of device memory");
  } catch (const std::exception& e) {
    keep(ESPALIER_DEVICE_FAILURE, e.what());
  } catch (...) {
    keep(ESPALIER_INTERNAL, "unknown failure");
  }
  if constexpr (!std::is_void_v<decltype(body())>) return {};
}

/** What the entry function returns; of static lifetime. */
struct BackendLibrary {
  uint32_t abi = kBackendAbi;  // the first field in every version
  /** Number of devices; when there is none, the failure says why. */
  int32_t (*device_count)(Failure* failure) noexcept;
  /** Fills in name, memory_bytes, instructions, and either available and prompt_gemm or reason. */
  void (*describe)(int32_t idx, espalier_device_info* info, Failure* failure) noexcept;
  /** A backend on a device, the caller's to delete. */
  Backend* (*create)(int32_t idx, Failure* failure) noexcept;
};

/** The entry function: extern "C" const BackendLibrary* espalier_backend_library(). */
constexpr const char* kBackendEntry = "espalier_backend_library";
using BackendEntry = const BackendLibrary* (*)();

}  // namespace espalier

#endif
