// The CUDA backend on the emulator, as a device behind the C ABI. For tests: no product lists it.
#ifndef ESPALIER_TESTS_SIMT_EMULATED_DEVICE_H
#define ESPALIER_TESTS_SIMT_EMULATED_DEVICE_H

#include "cuda_backend.h"
#include "espalier.h"

namespace espalier_test {

/** A context of the emulated device; espalier_context_destroy ends it. */
espalier_context* create_emulated_context(const espalier::CublasLtOptions& cublaslt = {});

}  // namespace espalier_test

#endif
