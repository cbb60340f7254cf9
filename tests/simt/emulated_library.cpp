// The CUDA backend on the emulator as a backend library, so that the conformance tests run on it: what cuda/library.cpp is on a card.
#include <cstdio>

#include "cuda_backend.h"
#include "emulator.h"
#include "ops/backend_library.h"

namespace espalier {
namespace {

int32_t device_count(Failure*) noexcept { return 1; }

void describe(int32_t, espalier_device_info* info, Failure*) noexcept {
  info->available = 1;
  info->memory_bytes = int64_t{1} << 30;
  std::snprintf(info->name, sizeof info->name, "emulated device");
}

Backend* create(int32_t idx, Failure* failure) noexcept {
  return caught(failure, [&] { return make_cuda_backend(idx).release(); });
}

constexpr BackendLibrary kLibrary = {
    .device_count = device_count, .describe = describe, .create = create};

}  // namespace
}  // namespace espalier

extern "C" ESPALIER_API const espalier::BackendLibrary* espalier_backend_library() {
  return &espalier::kLibrary;
}

/** For tests/support/device.cpp. */
extern "C" ESPALIER_API uint64_t espalier_emulated_blocks() {
  return simt::emulated::counts().blocks;
}
