// Code addresses to source lines.
#include <link.h>
#include <unistd.h>

#include <climits>
#include <cstdio>

#include "machine.h"

namespace simt::emulated {
namespace {

/** Where the executable lies. */
uintptr_t executable_base() {
  static const uintptr_t base = [] {
    uintptr_t found = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
          *static_cast<uintptr_t*>(data) = info->dlpi_addr;
          return 1;  // the first is the executable
        },
        &found);
    return found;
  }();
  return base;
}

bool is_primitive(const std::string& path) {
  return path.find("cuda/simt/") != std::string::npos || path.find("/c++/") != std::string::npos;
}

std::string find_line(Place place) {
  char executable[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", executable, sizeof executable - 1);
  if (length < 0) return "?";
  executable[length] = 0;
  char command[PATH_MAX + 80];
  std::snprintf(
      command, sizeof command, "addr2line -i -e '%s' 0x%x 2>/dev/null", executable, place);
  std::string innermost;
  FILE* lines = popen(command, "r");
  if (lines == nullptr) return "?";
  std::string chosen;
  for (char buffer[PATH_MAX]; std::fgets(buffer, sizeof buffer, lines) != nullptr;) {
    std::string line = buffer;
    line = line.substr(0, line.find_first_of(" \n"));  // without " (discriminator 3)"
    const std::string file = line.substr(line.rfind('/') + 1);
    if (innermost.empty()) innermost = file;
    if (chosen.empty() && !is_primitive(line)) chosen = file;
  }
  pclose(lines);
  if (chosen.empty()) chosen = innermost;
  if (chosen.empty() || chosen[0] == '?') {
    char text[32];
    std::snprintf(text, sizeof text, "code+0x%x", place);
    return text;
  }
  return chosen;
}

}  // namespace

Place place_of(const void* return_address) {
  return static_cast<Place>(reinterpret_cast<uintptr_t>(return_address) - executable_base() - 1);
}

const std::string& line_of(Place place) {
  static std::unordered_map<Place, std::string> lines;
  const auto known = lines.find(place);
  if (known != lines.end()) return known->second;
  return lines[place] = find_line(place);
}

}  // namespace simt::emulated
