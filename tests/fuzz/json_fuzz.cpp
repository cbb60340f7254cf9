// Fuzzing the JSON reader: any bytes are read or refused, and what is read can be looked up.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/json.h"
#include "runtime/status.h"

namespace {

void need(bool condition) {
  if (!condition) std::abort();
}

void check(const espalier::Json& json) {
  need(!espalier::shown(json).empty());
  for (const espalier::Json& value : json.array) check(value);
  for (const auto& [key, value] : json.object) {
    need(json.find(key) == &value);
    check(value);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(espalier::parse_json({reinterpret_cast<const char*>(data), size}, "input"));
  } catch (const espalier::Error& e) {
    need(e.status() == ESPALIER_BAD_MODEL);
  }
  return 0;
}
