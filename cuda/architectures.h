// Which cards a build has machine code for.
#ifndef ESPALIER_CUDA_ARCHITECTURES_H
#define ESPALIER_CUDA_ARCHITECTURES_H

#include <cstdlib>
#include <sstream>
#include <string>

namespace espalier {

/**
 * Whether a card of compute capability major.minor runs a build for the architectures of a list such as
 * "80-real 90a-real 120", each as CMake takes it. Machine code of X.Y runs on X.Z with Z >= Y, with the suffix `a` on X.Y
 * alone, with `f` as without suffix; PTX (no "-real") on everything from X.Y on.
 */
inline bool runs_on(const std::string& list, int major, int minor) {
  std::istringstream in(list);
  for (std::string entry; in >> entry;) {
    char* suffix = nullptr;
    const long number = std::strtol(entry.c_str(), &suffix, 10);
    const int with_major = static_cast<int>(number / 10),
              with_minor = static_cast<int>(number % 10);
    const std::string rest = suffix;
    const bool exact = rest.starts_with("a");
    const bool has_code = rest.find("virtual") == std::string::npos;
    const bool has_ptx = rest.find("real") == std::string::npos;
    if (exact) {
      if (major == with_major && minor == with_minor) return true;
      continue;
    }
    if (has_code && major == with_major && minor >= with_minor) return true;
    if (has_ptx && (major > with_major || (major == with_major && minor >= with_minor)))
      return true;
  }
  return false;
}

}  // namespace espalier

#endif
