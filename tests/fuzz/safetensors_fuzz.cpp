// Fuzzing safetensors: what is accepted covers the data of the file exactly. Every input is read
// twice, as a file and as the header of a file, which spares the fuzzer from guessing the length in
// front of it.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "model/safetensors.h"
#include "runtime/status.h"

namespace {

void need(bool condition) {
  if (!condition) std::abort();
}

void read(std::string_view file) {
  try {
    int64_t end = 0;
    unsigned sum = 0;
    for (const espalier::TensorEntry& entry : espalier::parse_safetensors(file, "input")) {
      need(entry.begin >= 8 && entry.begin <= entry.end);
      need(end == 0 || entry.begin == end);
      end = entry.end;
      for (int64_t i = entry.begin; i < entry.end; ++i) sum += static_cast<unsigned char>(file[i]);
      for (int64_t extent : entry.shape) need(extent >= 0);
    }
    need(end == 0 || end == static_cast<int64_t>(file.size()));
    volatile unsigned keep = sum;  // the reads above must happen
    static_cast<void>(keep);
  } catch (const espalier::Error& e) {
    need(e.status() == ESPALIER_BAD_MODEL);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  read(input);

  // The text up to its last brace as the header, the rest as the data.
  const size_t header_len = input.rfind('}') + 1;  // 0 without a brace
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(header_len >> 8 * i & 0xFF));
  file += input;
  read(file);
  return 0;
}
