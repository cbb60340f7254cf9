// The libcublasLt for tests under the emulator: loaded once, and its work in the emulator's streams.
#ifndef ESPALIER_TESTS_SIMT_FAKE_LIBRARY_H
#define ESPALIER_TESTS_SIMT_FAKE_LIBRARY_H

#include <dlfcn.h>

#include <stdexcept>
#include <string>

#include "emulator.h"
#include "fake_cublaslt.h"

namespace espalier_test {

inline const std::string kFakeFolder = ESPALIER_FAKE_CUBLASLT;

inline FakeCublasLt& fake_library() {
  static FakeCublasLt& fake = []() -> FakeCublasLt& {
    void* library = dlopen((kFakeFolder + "/libcublasLt.so.13").c_str(), RTLD_NOW | RTLD_LOCAL);
    void* found = library == nullptr ? nullptr : dlsym(library, "fake_cublaslt");
    if (found == nullptr) throw std::runtime_error(dlerror());
    auto* fake = static_cast<FakeCublasLt*>(found);
    fake->enqueue = [](void* stream, std::function<void()> work) {
      simt::emulated::run_in_stream(static_cast<CUstream_st*>(stream), std::move(work));
    };
    return *fake;
  }();
  return fake;
}

}  // namespace espalier_test

#endif
