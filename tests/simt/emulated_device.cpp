#include "emulated_device.h"

#include "cuda_backend.h"
#include "runtime/objects.h"

namespace espalier_test {

espalier_context* create_emulated_context() {
  auto device = std::make_shared<espalier::Device>();
  device->backend = espalier::make_cuda_backend(0);
  return new espalier_context{std::move(device)};
}

}  // namespace espalier_test
