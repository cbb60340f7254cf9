#include "support/device.h"

#include <cstdlib>
#include <cstring>

#include "cpu/cpu_backend.h"
#include "runtime/objects.h"
#include "support/replay_backend.h"

namespace espalier_test {

namespace {

bool replay_wanted() {
  const char* wanted = std::getenv("ESPALIER_TEST_DEVICE");
  return wanted != nullptr && std::strcmp(wanted, "replay") == 0;
}

}  // namespace

espalier_context* create_context(int num_threads) {
  if (replay_wanted()) {
    auto device = std::make_shared<espalier::Device>();
    device->backend = std::make_unique<ReplayBackend>(espalier::make_cpu_backend(num_threads));
    return new espalier_context{std::move(device)};
  }
  espalier_context* ctx = nullptr;
  return espalier_context_create(ESPALIER_CPU, 0, num_threads, &ctx) == ESPALIER_OK ? ctx : nullptr;
}

int64_t num_replays() {
  return replay_wanted() ? static_cast<int64_t>(ReplayBackend::replays()) : -1;
}

}  // namespace espalier_test
