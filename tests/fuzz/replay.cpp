// Runs a fuzz target on every file of the folders that are named, without a fuzzer.
#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "model/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  int count = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      const std::string input = espalier::read_file(entry.path().string(), 1 << 20);
      std::fprintf(stderr, "%s\n", entry.path().c_str());  // on a crash the last one is the cause
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
      ++count;
    }
  }
  std::printf("%d inputs\n", count);
  return count > 0 ? 0 : 1;
}
