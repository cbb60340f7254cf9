#include "model/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>

#include "model/json.h"
#include "runtime/status.h"

namespace espalier {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reader of the format's authors
constexpr size_t kMaxIndexBytes = 64 << 20;
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

struct Dtype {
  const char* name;
  int64_t bytes;
};

constexpr Dtype kDtypes[] = {{"BOOL", 1},    {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                             {"F8_E8M0", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},     {"BF16", 2},
                             {"I32", 4},     {"U32", 4}, {"F32", 4}, {"I64", 8},     {"U64", 8},
                             {"F64", 8},     {"C64", 8}};

std::optional<Type> float_type(const std::string& dtype) {
  if (dtype == "F32") return Type::kFp32;
  if (dtype == "BF16") return Type::kBf16;
  if (dtype == "F16") return Type::kFp16;
  return std::nullopt;
}

std::string shown_shape(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i == 8) return out + ", ...]";
    out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return out + "]";
}

/** One entry of a header, checked by itself. */
class EntryReader {
 public:
  EntryReader(const std::string& path, const std::string& name, const Json& json)
      : path_(path), name_(name), json_(json) {}

  TensorEntry read(int64_t data_begin, int64_t data_bytes) {
    if (!json_.is_object()) refuse("an object with dtype, shape and data_offsets", shown(json_));
    TensorEntry entry;
    entry.name = name_;
    const Json& dtype = member("dtype");
    const auto known = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) {
      return dtype.is_string() && dtype.string == d.name;
    });
    if (known == std::end(kDtypes)) refuse("a known dtype", "dtype " + shown(dtype));
    entry.dtype = known->name;
    entry.shape = integers("shape");
    int64_t bytes = known->bytes;
    bool overflow = false;
    for (int64_t n : entry.shape) overflow |= n != 0 && __builtin_mul_overflow(bytes, n, &bytes);
    if (overflow) refuse("fewer than 2^63 bytes", "shape " + shown_shape(entry.shape));
    // A zero extent makes the tensor empty, whatever the others multiply to.
    if (std::find(entry.shape.begin(), entry.shape.end(), 0) != entry.shape.end()) bytes = 0;

    const std::vector<int64_t> range = integers("data_offsets");
    if (range.size() != 2 || range[0] > range[1] || range[1] > data_bytes) {
      refuse(
          "two rising offsets of at most " + std::to_string(data_bytes),
          "data_offsets " + shown_shape(range));
    }
    if (range[1] - range[0] != bytes) {
      refuse(
          "bytes of shape " + shown_shape(entry.shape) + " and dtype " + entry.dtype + " = " +
              std::to_string(bytes),
          "data_offsets " + shown_shape(range));
    }
    entry.begin = data_begin + range[0];
    entry.end = data_begin + range[1];
    return entry;
  }

 private:
  [[noreturn]] void refuse(const std::string& rule, const std::string& got) const {
    fail(
        ESPALIER_BAD_MODEL, "%s: tensor %s = %s, expected %s", path_.c_str(), shown(name_).c_str(),
        got.c_str(), rule.c_str());
  }

  const Json& member(const char* key) const {
    const Json* json = json_.find(key);
    if (json == nullptr) refuse("dtype, shape and data_offsets", std::string("no ") + key);
    return *json;
  }

  std::vector<int64_t> integers(const char* key) const {
    const Json& json = member(key);
    if (!json.is_array()) refuse("a list of integers from 0", std::string(key) + " " + shown(json));
    std::vector<int64_t> values;
    for (const Json& value : json.array) {
      if (!value.is_int() || value.integer < 0) {
        refuse("integers from 0 below 2^63", std::string(key) + " with " + shown(value));
      }
      values.push_back(value.integer);
    }
    return values;
  }

  const std::string& path_;
  const std::string& name_;
  const Json& json_;
};

/** Every byte of the data belongs to exactly one tensor. */
void check_coverage(
    const std::vector<TensorEntry>& entries, int64_t begin, int64_t end, const std::string& path) {
  const TensorEntry* previous = nullptr;
  for (const TensorEntry& entry : entries) {
    if (entry.begin < begin) {
      fail(
          ESPALIER_BAD_MODEL, "%s: tensor %s overlaps tensor %s, expected ranges without overlap",
          path.c_str(), shown(entry.name).c_str(), shown(previous->name).c_str());
    }
    if (entry.begin > begin) {
      fail(
          ESPALIER_BAD_MODEL, "%s: gap of %lld bytes before tensor %s, expected ranges without gap",
          path.c_str(), static_cast<long long>(entry.begin - begin), shown(entry.name).c_str());
    }
    begin = entry.end;
    previous = &entry;
  }
  if (begin != end) {
    fail(
        ESPALIER_BAD_MODEL, "%s: %lld bytes after the last tensor, expected none", path.c_str(),
        static_cast<long long>(end - begin));
  }
}

/** A file mapped for reading. */
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    // Not blocking, so that a named pipe is refused instead of waited for.
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
      fail(
          ESPALIER_BAD_MODEL, "%s: %s, expected a readable file", path.c_str(),
          std::strerror(errno));
    struct stat info;
    const bool is_file = ::fstat(file, &info) == 0 && S_ISREG(info.st_mode);
    if (is_file && info.st_size > 0) {
      bytes_ = static_cast<size_t>(info.st_size);
      data_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file, 0);
    }
    const int error = errno;
    ::close(file);
    if (!is_file)
      fail(ESPALIER_BAD_MODEL, "%s: not a file, expected a readable file", path.c_str());
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      fail(
          error == ENOMEM ? ESPALIER_OUT_OF_MEMORY : ESPALIER_BAD_MODEL, "%s: cannot be mapped: %s",
          path.c_str(), std::strerror(error));
    }
  }

  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
  }

  std::string_view view() const { return {static_cast<const char*>(data_), bytes_}; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

bool exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

/** A file of the folder itself: nothing that a path could leave it by. */
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

/** weight_map of an index: the file of each tensor. */
std::map<std::string, std::string> read_index(const std::string& path) {
  const Json json = parse_json(read_file(path, kMaxIndexBytes), path);
  const Json* map = json.find("weight_map");
  if (map == nullptr || !map->is_object() || map->object.empty()) {
    fail(
        ESPALIER_BAD_MODEL, "%s: weight_map = %s, expected an object of file names", path.c_str(),
        map == nullptr ? "missing" : shown(*map).c_str());
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map->object) {
    if (!file.is_string() || !is_plain_name(file.string)) {
      fail(
          ESPALIER_BAD_MODEL,
          "%s: weight_map of tensor %s = %s, expected the name of a file in the folder",
          path.c_str(), shown(name).c_str(), shown(file).c_str());
    }
    files.emplace_hint(files.end(), name, file.string);
  }
  return files;
}

}  // namespace

std::vector<TensorEntry> parse_safetensors(std::string_view file, const std::string& path) {
  if (file.size() < 8) {
    fail(
        ESPALIER_BAD_MODEL, "%s: size = %zu bytes, expected at least 8", path.c_str(), file.size());
  }
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i)
    header_bytes = header_bytes << 8 | static_cast<unsigned char>(file[i]);
  const uint64_t most = std::min<uint64_t>(file.size() - 8, kMaxHeaderBytes);
  if (header_bytes > most) {
    fail(
        ESPALIER_BAD_MODEL, "%s: header = %llu bytes, expected at most %llu in a file of %zu",
        path.c_str(), static_cast<unsigned long long>(header_bytes),
        static_cast<unsigned long long>(most), file.size());
  }
  const Json header = parse_json(file.substr(8, header_bytes), path + ": header");
  if (!header.is_object()) {
    fail(
        ESPALIER_BAD_MODEL, "%s: header = %s, expected an object", path.c_str(),
        shown(header).c_str());
  }
  const int64_t data_begin = static_cast<int64_t>(8 + header_bytes);
  const int64_t data_end = static_cast<int64_t>(file.size());
  std::vector<TensorEntry> entries;
  for (const auto& [name, json] : header.object) {
    if (name == "__metadata__") continue;
    entries.push_back(EntryReader(path, name, json).read(data_begin, data_end - data_begin));
  }
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_coverage(entries, data_begin, data_end, path);
  return entries;
}

struct Tensors::Impl {
  struct Tensor {
    const void* data;
    TensorEntry entry;
    std::string path;
  };

  std::string dir;
  std::vector<std::unique_ptr<Mapping>> mappings;
  std::vector<std::unique_ptr<char[]>> copies;
  std::map<std::string, Tensor> tensors;

  void add_file(const std::string& path) {
    mappings.push_back(std::make_unique<Mapping>(path));
    const std::string_view file = mappings.back()->view();
    for (TensorEntry& entry : parse_safetensors(file, path)) {
      const void* data = aligned(file.data() + entry.begin, entry);
      const std::string name = entry.name;
      const auto [at, added] = tensors.try_emplace(name, Tensor{data, std::move(entry), path});
      if (!added) {
        fail(
            ESPALIER_BAD_MODEL, "%s: tensor %s = also in %s, expected in one file only",
            path.c_str(), shown(name).c_str(), at->second.path.c_str());
      }
    }
  }

  const void* aligned(const char* data, const TensorEntry& entry) {
    const auto type = float_type(entry.dtype);
    if (!type || reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(type_bytes(*type)) == 0)
      return data;
    const size_t bytes = static_cast<size_t>(entry.end - entry.begin);
    copies.push_back(std::make_unique_for_overwrite<char[]>(bytes));
    std::memcpy(copies.back().get(), data, bytes);
    return copies.back().get();
  }
};

Tensors::Tensors(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tensors::Tensors(Tensors&&) noexcept = default;
Tensors& Tensors::operator=(Tensors&&) noexcept = default;
Tensors::~Tensors() = default;

Tensors Tensors::open(const std::string& dir) {
  auto impl = std::make_unique<Impl>();
  impl->dir = dir;
  const std::string single = dir + "/" + kSingleFile, index = dir + "/" + kIndexFile;
  if (exists(single)) {
    impl->add_file(single);
    return Tensors(std::move(impl));
  }
  if (!exists(index)) {
    fail(
        ESPALIER_BAD_MODEL, "%s: no weights, expected %s or %s", dir.c_str(), kSingleFile,
        kIndexFile);
  }
  const std::map<std::string, std::string> files = read_index(index);
  std::map<std::string, bool> opened;
  for (const auto& [name, file] : files) {
    if (opened.emplace(file, true).second) impl->add_file(dir + "/" + file);
  }
  for (const auto& [name, file] : files) {
    const auto at = impl->tensors.find(name);
    if (at == impl->tensors.end() || at->second.path != dir + "/" + file) {
      fail(
          ESPALIER_BAD_MODEL, "%s: tensor %s = not in %s, expected there", index.c_str(),
          shown(name).c_str(), shown(file).c_str());
    }
  }
  return Tensors(std::move(impl));
}

bool Tensors::has(const std::string& name) const { return impl_->tensors.contains(name); }

TensorView Tensors::get(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto at = impl_->tensors.find(name);
  if (at == impl_->tensors.end()) {
    fail(
        ESPALIER_BAD_MODEL, "%s: tensor %s = missing, expected shape %s", impl_->dir.c_str(),
        shown(name).c_str(), shown_shape(shape).c_str());
  }
  const TensorEntry& entry = at->second.entry;
  if (entry.shape != shape) {
    fail(
        ESPALIER_BAD_MODEL, "%s: tensor %s: shape = %s, expected %s", at->second.path.c_str(),
        shown(name).c_str(), shown_shape(entry.shape).c_str(), shown_shape(shape).c_str());
  }
  const auto type = float_type(entry.dtype);
  if (!type) {
    fail(
        ESPALIER_BAD_MODEL, "%s: tensor %s: dtype = %s, expected F32, BF16 or F16",
        at->second.path.c_str(), shown(name).c_str(), entry.dtype.c_str());
  }
  return {at->second.data, *type, entry.shape};
}

int64_t Tensors::total_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : impl_->tensors) bytes += tensor.entry.end - tensor.entry.begin;
  return bytes;
}

}  // namespace espalier
