#include "emulated_device.h"

#include "runtime/objects.h"

namespace espalier_test {

espalier_context* create_emulated_context(const espalier::CublasLtOptions& cublaslt) {
  auto device = std::make_shared<espalier::Device>();
  device->backend = espalier::make_cuda_backend(0, nullptr, cublaslt);
  return new espalier_context{std::move(device)};
}

}  // namespace espalier_test
