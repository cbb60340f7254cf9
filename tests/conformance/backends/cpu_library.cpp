// A backend library on the CPU backend, so that the way through a library is tested without a GPU. Device 0 computes, device 1 is
// not available, and device 2 fails when it is opened.
#include <cstdio>
#include <stdexcept>
#include <string>

#include "cpu/cpu_backend.h"
#include "ops/backend_library.h"

namespace espalier {
namespace {

int32_t device_count(Failure*) noexcept { return 3; }

void describe(int32_t idx, espalier_device_info* info, Failure*) noexcept {
  info->available = idx != 1;
  info->memory_bytes = int64_t{1} << 30;
  std::snprintf(info->name, sizeof info->name, "test card %d", idx);
  if (idx == 1) std::snprintf(info->reason, sizeof info->reason, "too old");
  if (idx == 0) std::snprintf(info->prompt_gemm, sizeof info->prompt_gemm, "own kernels: a test");
}

Backend* create(int32_t idx, Failure* failure) noexcept {
  return caught(failure, [&]() -> Backend* {
    if (idx == 2) throw std::runtime_error("the card does not answer");
    return make_cpu_backend(2).release();
  });
}

constexpr BackendLibrary kLibrary = {
    .device_count = device_count, .describe = describe, .create = create};

}  // namespace
}  // namespace espalier

extern "C" ESPALIER_API const espalier::BackendLibrary* espalier_backend_library() {
  return &espalier::kLibrary;
}
