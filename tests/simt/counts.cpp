// What a program emulated, told when it ends: a line of standard error, as standard output may be a document, and a file for
// whoever adds up the programs of a run.
#include <errno.h>

#include <cstdio>
#include <cstdlib>

#include "machine.h"

namespace simt::emulated {

Machine::~Machine() {
  if (counts.launches == 0) return;
  const auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::fprintf(
      stderr,
      "emulated: %zu kernels, %llu launches, %llu blocks, %llu threads, %llu accesses checked\n",
      kernels.size(), number(counts.launches), number(counts.blocks), number(counts.threads),
      number(counts.accesses));
  const char* folder = std::getenv("ESPALIER_SIMT_COUNTS");
  if (folder == nullptr) return;
  const std::string path = std::string(folder) + "/" + program_invocation_short_name + ".txt";
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return;
  std::fprintf(
      file, "%llu %llu %llu %llu\n", number(counts.launches), number(counts.blocks),
      number(counts.threads), number(counts.accesses));
  for (const std::string& kernel : kernels) std::fprintf(file, "%s\n", kernel.c_str());
  std::fclose(file);
}

}  // namespace simt::emulated
