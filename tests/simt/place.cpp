// Code addresses to source lines.
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>

#include "machine.h"

namespace simt::emulated {
namespace {

bool is_primitive(const std::string& path) {
  return path.find("cuda/simt/") != std::string::npos || path.find("/c++/") != std::string::npos;
}

std::string find_line(Place place) {
  char command[PATH_MAX + 80];
  std::snprintf(
      command, sizeof command, "addr2line -i -e '%s' 0x%x 2>/dev/null", image().path.c_str(),
      place);
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

const Image& image() {
  static const Image found = [] {
    Image of{};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
          Image image{info->dlpi_addr, UINTPTR_MAX, 0, info->dlpi_name};
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& part = info->dlpi_phdr[i];
            if (part.p_type != PT_LOAD) continue;
            image.begin = std::min<uintptr_t>(image.begin, image.base + part.p_vaddr);
            image.end = std::max<uintptr_t>(image.end, image.base + part.p_vaddr + part.p_memsz);
          }
          const auto here = reinterpret_cast<uintptr_t>(&find_line);
          if (here < image.begin || here >= image.end) return 0;
          *static_cast<Image*>(data) = image;
          return 1;
        },
        &of);
    if (of.path.empty())
      of.path = "/proc/" + std::to_string(getpid()) + "/exe";  // the program itself
    return of;
  }();
  return found;
}

Place place_of(const void* return_address) {
  return static_cast<Place>(reinterpret_cast<uintptr_t>(return_address) - image().base - 1);
}

const std::string& line_of(Place place) {
  static std::unordered_map<Place, std::string> lines;
  const auto known = lines.find(place);
  if (known != lines.end()) return known->second;
  return lines[place] = find_line(place);
}

}  // namespace simt::emulated
