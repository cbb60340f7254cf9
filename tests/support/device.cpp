#include "support/device.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cpu/cpu_backend.h"
#include "runtime/objects.h"
#include "support/replay_backend.h"

namespace espalier_test {

namespace {

const char* wanted() {
  const char* value = std::getenv("ESPALIER_TEST_DEVICE");
  return value != nullptr ? value : "cpu";
}

bool replay_wanted() { return std::strcmp(wanted(), "replay") == 0; }

/** Loads the library once; without a device in it there is nothing to test. */
void load_library(const char* path) {
  static const espalier_status status = espalier_backend_load(path);
  if (status == ESPALIER_OK) return;
  std::printf("skipped: %s\n", espalier_last_error());
  std::exit(77);
}

}  // namespace

espalier_context* create_context(int num_threads) {
  if (replay_wanted()) {
    auto device = std::make_shared<espalier::Device>();
    device->backend = std::make_unique<ReplayBackend>(espalier::make_cpu_backend(num_threads));
    return new espalier_context{std::move(device)};
  }
  const bool on_cpu = std::strcmp(wanted(), "cpu") == 0;
  if (!on_cpu) load_library(wanted());
  espalier_context* ctx = nullptr;
  return espalier_context_create(on_cpu ? ESPALIER_CPU : ESPALIER_CUDA, 0, num_threads, &ctx) ==
                 ESPALIER_OK
             ? ctx
             : nullptr;
}

bool on_cpu() {
  return replay_wanted() || std::strcmp(wanted(), "cpu") == 0 ||
         std::strstr(wanted(), "cpu_library") != nullptr;
}

bool is_emulated() { return std::strstr(wanted(), "emulated_library") != nullptr; }

int64_t num_blocks() {
  if (!is_emulated()) return -1;
  void* library = dlopen(wanted(), RTLD_NOW | RTLD_NOLOAD);
  const auto count = reinterpret_cast<uint64_t (*)()>(dlsym(library, "espalier_emulated_blocks"));
  dlclose(library);  // it stays: the backend is loaded
  return static_cast<int64_t>(count());
}

int64_t num_replays() {
  return replay_wanted() ? static_cast<int64_t>(ReplayBackend::replays()) : -1;
}

}  // namespace espalier_test
