#include "runtime/status.h"

#include <cstdarg>
#include <cstdio>

namespace espalier {
namespace {

constexpr size_t kTextBytes = 1024;
thread_local char last_text[kTextBytes] = "";

}  // namespace

void fail(espalier_status status, const char* format, ...) {
  char text[kTextBytes];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  throw Error(status, text);
}

espalier_status report(const char* call, espalier_status status, const char* text) noexcept {
  std::snprintf(last_text, sizeof last_text, "%s: %s", call, text);
  return status;
}

}  // namespace espalier

const char* espalier_last_error(void) { return espalier::last_text; }

int32_t espalier_abi_version(void) { return ESPALIER_ABI_VERSION; }
