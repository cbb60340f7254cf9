// Fuzzing a whole model folder: the input is an index and two shards, separated by bytes 0xff.
// Tensors that the folder is found to have can be asked for and read.
#include <stdlib.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "model/safetensors.h"
#include "runtime/status.h"

namespace {

namespace fs = std::filesystem;

void need(bool condition) {
  if (!condition) std::abort();
}

class Folder {
 public:
  Folder() {
    const fs::path fast = "/dev/shm";
    std::string name =
        (fs::exists(fast) ? fast : fs::temp_directory_path()) / "espalier_fuzz_XXXXXX";
    need(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { fs::remove_all(path); }

  void write(const char* name, std::string_view content) const {
    std::FILE* file = std::fopen((path + "/" + name).c_str(), "wb");
    need(file != nullptr);
    need(std::fwrite(content.data(), 1, content.size(), file) == content.size());
    std::fclose(file);
  }

  std::string path;
};

/** The text up to the next separator, which is taken away. */
std::string_view next_part(std::string_view* input) {
  const size_t len = std::min(input->find('\xff'), input->size());
  const std::string_view part = input->substr(0, len);
  input->remove_prefix(std::min(len + 1, input->size()));
  return part;
}

/** A part as a file: its text up to the last brace as the header, the rest as the data. */
std::string shard(std::string_view part) {
  const size_t header_len = part.rfind('}') + 1;
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(header_len >> 8 * i & 0xFF));
  return file.append(part);
}

void read(const espalier::Tensors& tensors, const char* name) {
  if (!tensors.has(name)) return;
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {0}, {1}, {2}, {1, 2}}) {
    try {
      const espalier::TensorView view = tensors.get(name, shape);
      int64_t bytes = espalier::type_bytes(view.type);
      for (int64_t extent : shape) bytes *= extent;
      need(
          reinterpret_cast<uintptr_t>(view.data) %
              static_cast<uintptr_t>(espalier::type_bytes(view.type)) ==
          0);
      unsigned sum = 0;
      for (int64_t i = 0; i < bytes; ++i) sum += static_cast<const unsigned char*>(view.data)[i];
      volatile unsigned keep = sum;  // the reads above must happen
      static_cast<void>(keep);
    } catch (const espalier::Error& e) {
      need(e.status() == ESPALIER_BAD_MODEL);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  folder.write("model.safetensors.index.json", next_part(&input));
  folder.write("1.safetensors", shard(next_part(&input)));
  folder.write("2.safetensors", shard(next_part(&input)));
  try {
    const espalier::Tensors tensors = espalier::Tensors::open(folder.path);
    need(tensors.total_bytes() >= 0);
    for (const char* name : {"a", "b", "w"}) read(tensors, name);
  } catch (const espalier::Error& e) {
    need(e.status() == ESPALIER_BAD_MODEL);
  }
  return 0;
}
