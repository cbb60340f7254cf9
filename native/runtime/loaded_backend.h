// The CUDA backend, which is a library of its own, loaded on demand: its devices, and why there is none.
#ifndef ESPALIER_RUNTIME_LOADED_BACKEND_H
#define ESPALIER_RUNTIME_LOADED_BACKEND_H

#include <memory>

#include "espalier.h"
#include "ops/ops.h"

namespace espalier {

/** Loads the library; throws ESPALIER_UNAVAILABLE when it gives no device, and the reason stays for describe_cuda. */
void load_cuda_library(const char* path);

/** CUDA devices, at least 1: without any there is one entry that says why. */
int32_t cuda_entries();

/** Describes device `idx` of the loaded library. */
void describe_cuda(int32_t idx, espalier_device_info* info);

/** A backend on device `idx`; throws ESPALIER_UNAVAILABLE with the reason. */
std::unique_ptr<Backend> make_loaded_backend(int32_t idx);

}  // namespace espalier

#endif
