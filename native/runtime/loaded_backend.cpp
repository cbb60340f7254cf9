#include "runtime/loaded_backend.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <string>

#include "ops/backend_library.h"
#include "runtime/status.h"

namespace espalier {
namespace {

std::mutex mutex;
const BackendLibrary* library = nullptr;  // once set, it stays loaded
std::string reason =
    "the CUDA backend (libespalier_cuda.so) is not loaded; add the linux-x86_64-gpu jar";

void raise_unless_ok(const Failure& failure) {
  if (failure.status != ESPALIER_OK) throw Error(failure.status, failure.text);
}

/** The library's table, or a text for why there is none. */
const BackendLibrary* open(const char* path, std::string* why) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    *why = dlerror();
    return nullptr;
  }
  const auto entry = reinterpret_cast<BackendEntry>(dlsym(handle, kBackendEntry));
  if (entry == nullptr) {
    *why = std::string(path) + " has no " + kBackendEntry + ", expected a backend of espalier";
  } else if (const BackendLibrary* table = entry(); table->abi != kBackendAbi) {
    *why = "backend ABI of " + std::string(path) + " = " + std::to_string(table->abi) +
           ", expected " + std::to_string(kBackendAbi) + "; use jars of one version";
  } else {
    return table;
  }
  dlclose(handle);
  return nullptr;
}

/** Why none of the devices of the library works; empty when one does. */
std::string why_no_device(const BackendLibrary& table) {
  Failure failure;
  const int32_t count = table.device_count(&failure);
  if (count == 0) return failure.text;
  std::string why;
  for (int32_t idx = 0; idx < count; ++idx) {
    espalier_device_info info{};
    table.describe(idx, &info, &failure);
    if (info.available == 1) return "";
    why += (why.empty() ? "" : ", ") + std::string(info.name) + ": " + info.reason;
  }
  return why;
}

}  // namespace

void load_cuda_library(const char* path) {
  std::lock_guard<std::mutex> lock(mutex);
  if (library != nullptr) {
    fail(ESPALIER_INVALID_STATE, "path = %s, expected one call: a backend is loaded already", path);
  }
  std::string why;
  const BackendLibrary* table = open(path, &why);
  if (table == nullptr) {
    reason = "espalier_cuda not loaded: " + why;
    throw Error(ESPALIER_UNAVAILABLE, reason);
  }
  library = table;
  reason = why_no_device(*table);
  if (!reason.empty()) throw Error(ESPALIER_UNAVAILABLE, reason);
}

int32_t cuda_entries() {
  std::lock_guard<std::mutex> lock(mutex);
  Failure failure;
  return library == nullptr ? 1 : std::max(1, library->device_count(&failure));
}

void describe_cuda(int32_t idx, espalier_device_info* info) {
  std::lock_guard<std::mutex> lock(mutex);
  Failure failure;
  if (library != nullptr && library->device_count(&failure) > 0) {
    library->describe(idx, info, &failure);
    raise_unless_ok(failure);
    return;
  }
  std::snprintf(info->name, sizeof info->name, "NVIDIA GPU");
  std::snprintf(info->reason, sizeof info->reason, "%s", reason.c_str());
}

std::unique_ptr<Backend> make_loaded_backend(int32_t idx) {
  const int32_t entries = cuda_entries();
  if (idx < 0 || idx >= entries) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "idx = %d, expected 0 to %d, the last CUDA device", idx,
        entries - 1);
  }
  espalier_device_info info{};
  describe_cuda(idx, &info);
  if (info.available != 1) throw Error(ESPALIER_UNAVAILABLE, info.reason);
  Failure failure;
  std::unique_ptr<Backend> backend(library->create(idx, &failure));
  raise_unless_ok(failure);
  return backend;
}

}  // namespace espalier
