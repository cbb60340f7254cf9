// A backend library of a version that never was: only the first field of its table may be looked at.
#include <cstdint>

extern "C" __attribute__((visibility("default"))) const uint32_t* espalier_backend_library() {
  static const uint32_t abi = 4000000000u;
  return &abi;
}
