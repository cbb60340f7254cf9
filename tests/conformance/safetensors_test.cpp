// Tensors of a model folder: what the format allows is read in place, anything else is refused by
// name.
#include "model/safetensors.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "runtime/status.h"

namespace {

using espalier::Tensors;
using espalier::TensorView;
using Shape = std::vector<int64_t>;

/** A safetensors file: length of the header, header, data. */
std::string file_of(const std::string& header, const std::string& data) {
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(header.size() >> 8 * i & 0xFF));
  return out + header + data;
}

std::string entry(
    const std::string& name, const std::string& dtype, const std::string& shape,
    const std::string& range) {
  return "\"" + name + "\": {\"dtype\": \"" + dtype + "\", \"shape\": [" + shape +
         "], \"data_offsets\": [" + range + "]}";
}

std::string bytes_of(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

class Folder {
 public:
  Folder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "espalier_safetensors_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;

  const std::string& path() const { return path_; }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << content;
  }

  /** Text of the error of opening the folder, without the folder's path; empty when it opens. */
  std::string error() const {
    try {
      Tensors::open(path_);
      return "";
    } catch (const espalier::Error& e) {
      if (e.status() != ESPALIER_BAD_MODEL) return "wrong status";
      const std::string text = e.what();
      return text.compare(0, path_.size(), path_) == 0 ? text.substr(path_.size()) : text;
    }
  }

 private:
  std::string path_;
};

std::string error_of_file(const std::string& file) {
  try {
    espalier::parse_safetensors(file, "f");
    return "";
  } catch (const espalier::Error& e) {
    return e.status() == ESPALIER_BAD_MODEL ? e.what() : "wrong status";
  }
}

std::string error_of_get(const Tensors& tensors, const std::string& name, const Shape& shape) {
  try {
    tensors.get(name, shape);
    return "";
  } catch (const espalier::Error& e) {
    return e.status() == ESPALIER_BAD_MODEL ? e.what() : "wrong status";
  }
}

bool holds(const TensorView& view, const std::string& bytes) {
  return std::memcmp(view.data, bytes.data(), bytes.size()) == 0;
}

}  // namespace

TEST(tensors_are_read_whatever_their_order_types_and_padding) {
  const Folder folder;
  const std::string a = bytes_of({1, 2, 3, 4, 5, 6}), b = "bfbf", c = "h", empty;
  // In the header's order neither by name nor by offset; the header ends with blanks, as writers
  // align the data.
  folder.write(
      "model.safetensors",
      file_of(
          "{" + entry("w.b", "BF16", "2", "24,28") + ", \"__metadata__\": {\"format\": \"pt\"}, " +
              entry("w.a", "F32", "2, 3", "0,24") + "," + entry("scalar", "U8", "", "28,29") + "," +
              entry("none", "F16", "0, 4", "28,28") + "}      ",
          a + b + c));
  Tensors opened = Tensors::open(folder.path());
  const void* before = opened.get("w.a", {2, 3}).data;
  const Tensors tensors = std::move(opened);
  CHECK(tensors.get("w.a", {2, 3}).data == before);
  CHECK(
      holds(tensors.get("w.a", {2, 3}), a) &&
      tensors.get("w.a", {2, 3}).type == espalier::Type::kFp32);
  CHECK(holds(tensors.get("w.b", {2}), b) && tensors.get("w.b", {2}).type == espalier::Type::kBf16);
  CHECK(tensors.get("none", {0, 4}).type == espalier::Type::kFp16);
  CHECK(tensors.has("scalar") && !tensors.has("w.c") && !tensors.has("__metadata__"));
  CHECK_EQ(tensors.total_bytes(), 29);
}

TEST(a_tensor_that_is_not_there_as_expected_is_named) {
  const Folder folder;
  folder.write(
      "model.safetensors",
      file_of(
          "{" + entry("w", "F32", "2, 3", "0,24") + "," + entry("i", "I8", "2", "24,26") + "}",
          std::string(26, 0)));
  const Tensors tensors = Tensors::open(folder.path());
  CHECK_EQ(
      error_of_get(tensors, "v", {4}),
      folder.path() + ": tensor \"v\" = missing, expected shape [4]");
  const std::string file = folder.path() + "/model.safetensors: ";
  CHECK_EQ(
      error_of_get(tensors, "w", {3, 2}), file + "tensor \"w\": shape = [2, 3], expected [3, 2]");
  CHECK_EQ(error_of_get(tensors, "w", {6}), file + "tensor \"w\": shape = [2, 3], expected [6]");
  CHECK_EQ(
      error_of_get(tensors, "i", {2}),
      file + "tensor \"i\": dtype = I8, expected F32, BF16 or F16");
}

TEST(a_tensor_at_an_odd_address_is_aligned) {
  const Folder folder;
  const std::string a = bytes_of({1.5f, -2.0f}), b = "bfbf";
  for (int pad = 0; pad < 8; ++pad) {
    folder.write(
        "model.safetensors",
        file_of(
            "{" + entry("a", "F32", "2", "1,9") + "," + entry("x", "BOOL", "1", "0,1") + "," +
                entry("b", "F16", "2", "9,13") + "}" + std::string(pad, ' '),
            "x" + a + b));
    const Tensors tensors = Tensors::open(folder.path());
    const TensorView view_a = tensors.get("a", {2}), view_b = tensors.get("b", {2});
    CHECK(holds(view_a, a) && reinterpret_cast<uintptr_t>(view_a.data) % 4 == 0);
    CHECK(holds(view_b, b) && reinterpret_cast<uintptr_t>(view_b.data) % 2 == 0);
  }
}

TEST(shards_are_read_through_the_index) {
  const Folder folder;
  folder.write(
      "one.safetensors", file_of("{" + entry("a", "F32", "1", "0,4") + "}", bytes_of({1})));
  folder.write(
      "two.safetensors", file_of("{" + entry("b", "F32", "1", "0,4") + "}", bytes_of({2})));
  folder.write(
      "model.safetensors.index.json",
      R"({"metadata": {"total_size": 8},
          "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
  const Tensors tensors = Tensors::open(folder.path());
  CHECK(holds(tensors.get("a", {1}), bytes_of({1})) && holds(tensors.get("b", {1}), bytes_of({2})));
  CHECK_EQ(tensors.total_bytes(), 8);
}

TEST(files_that_break_the_format_are_refused) {
  const std::string w = "{" + entry("w", "F32", "2", "0,8") + "}";
  const std::string data(8, '\0');
  CHECK_EQ(error_of_file(file_of(w, data)), std::string());
  const auto two = [](const std::string& first, const std::string& second) {
    return "{" + entry("a", "U8", "4", first) + "," + entry("b", "U8", "4", second) + "}";
  };
  const struct {
    std::string file, error;
  } cases[] = {
      {"", "f: size = 0 bytes, expected at least 8"},
      {"\1\0\0", "f: size = 1 bytes, expected at least 8"},
      {std::string(8, '\0'), "f: header: byte 0 = end of the text, expected a value"},
      {std::string(8, '\xff'),
       "f: header = 18446744073709551615 bytes, expected at most 0 in a file of 8"},
      {file_of(w, data).substr(0, 20), "f: header = 60 bytes, expected at most 12 in a file of 20"},
      {file_of("[]", ""), "f: header = an array, expected an object"},
      {file_of("{", ""), "f: header: byte 1 = end of the text, expected a key"},
      {file_of("{} \1", ""), "f: header: byte 3 = 0x01, expected the end of the text"},
      {file_of("{}", "x"), "f: 1 bytes after the last tensor, expected none"},
      {file_of(w, data.substr(1)),
       "f: tensor \"w\" = data_offsets [0, 8], expected two rising offsets of at most 7"},
      {file_of(w, data + "x"), "f: 1 bytes after the last tensor, expected none"},
      {file_of("{\"w\": 1}", ""),
       "f: tensor \"w\" = 1, expected an object with dtype, shape and data_offsets"},
      {file_of("{\"w\": {}}", ""),
       "f: tensor \"w\" = no dtype, expected dtype, shape and data_offsets"},
      {file_of("{\"w\": {\"dtype\": \"F32\"}}", ""),
       "f: tensor \"w\" = no shape, expected dtype, shape and data_offsets"},
      {file_of("{\"w\": {\"dtype\": \"F32\", \"shape\": [1]}}", ""),
       "f: tensor \"w\" = no data_offsets, expected dtype, shape and data_offsets"},
      {file_of("{" + entry("w", "F33", "2", "0,8") + "}", data),
       "f: tensor \"w\" = dtype \"F33\", expected a known dtype"},
      {file_of("{\"w\": {\"dtype\": 5}}", ""), "f: tensor \"w\" = dtype 5, expected a known dtype"},
      {file_of("{" + entry("w", "F32", "-2", "0,8") + "}", data),
       "f: tensor \"w\" = shape with -2, expected integers from 0 below 2^63"},
      {file_of("{" + entry("w", "F32", "2.0", "0,8") + "}", data),
       "f: tensor \"w\" = shape with 2, expected integers from 0 below 2^63"},
      {file_of("{\"w\": {\"dtype\": \"F32\", \"shape\": 2, \"data_offsets\": [0, 8]}}", data),
       "f: tensor \"w\" = shape 2, expected a list of integers from 0"},
      {file_of("{" + entry("w", "F32", "9223372036854775807", "0,8") + "}", data),
       "f: tensor \"w\" = shape [9223372036854775807], expected fewer than 2^63 bytes"},
      {file_of("{" + entry("w", "F32", "4611686018427387904, 4", "0,0") + "}", ""),
       "f: tensor \"w\" = shape [4611686018427387904, 4], expected fewer than 2^63 bytes"},
      {file_of("{" + entry("w", "F32", "18446744073709551618", "0,8") + "}", data),
       "f: tensor \"w\" = shape with 1.84467e+19, expected integers from 0 below 2^63"},
      {file_of("{" + entry("w", "F32", "3", "0,8") + "}", data),
       "f: tensor \"w\" = data_offsets [0, 8], expected bytes of shape [3] and dtype F32 = 12"},
      {file_of("{" + entry("w", "BF16", "2", "0,8") + "}", data),
       "f: tensor \"w\" = data_offsets [0, 8], expected bytes of shape [2] and dtype BF16 = 4"},
      {file_of("{" + entry("w", "F32", "2", "8,0") + "}", data),
       "f: tensor \"w\" = data_offsets [8, 0], expected two rising offsets of at most 8"},
      {file_of("{" + entry("w", "F32", "2", "0,8,8") + "}", data),
       "f: tensor \"w\" = data_offsets [0, 8, 8], expected two rising offsets of at most 8"},
      {file_of("{" + entry("w", "F32", "2", "-4,4") + "}", data),
       "f: tensor \"w\" = data_offsets with -4, expected integers from 0 below 2^63"},
      {file_of("{" + entry("w", "F32", "2", "8,16") + "}", data),
       "f: tensor \"w\" = data_offsets [8, 16], expected two rising offsets of at most 8"},
      {file_of(two("0,4", "3,7"), data),
       "f: tensor \"b\" overlaps tensor \"a\", expected ranges without overlap"},
      {file_of(two("0,4", "0,4"), data),
       "f: tensor \"b\" overlaps tensor \"a\", expected ranges without overlap"},
      {file_of(two("5,9", "0,4"), data + "x"),
       "f: gap of 1 bytes before tensor \"a\", expected ranges without gap"},
      {file_of(two("1,5", "5,9"), data + "x"),
       "f: gap of 1 bytes before tensor \"a\", expected ranges without gap"},
      {file_of(
           "{" + entry("a", "U8", "4", "0,4") + "," + entry("z", "U8", "0", "2,2") + "," +
               entry("b", "U8", "4", "4,8") + "}",
           data),
       "f: tensor \"z\" overlaps tensor \"a\", expected ranges without overlap"},
      {file_of("{" + entry("w", "U8", "4", "0,4") + "," + entry("w", "U8", "4", "4,8") + "}", data),
       "f: header: object before byte 117 has key \"w\" twice, expected once"},
  };
  for (const auto& c : cases) CHECK_EQ(error_of_file(c.file), c.error);
  // Header lengths that end one byte beyond the file, and far beyond it.
  std::string longer = file_of("{}", "");
  ++longer[0];
  CHECK_EQ(
      error_of_file(longer),
      std::string("f: header = 3 bytes, expected at most 2 in a file of 10"));
  std::string huge = file_of(w, data);
  huge[4] = 1;
  CHECK_EQ(
      error_of_file(huge),
      std::string("f: header = 4294967356 bytes, expected at most 68 in a file of 76"));
}

TEST(every_truncation_and_many_corruptions_of_a_file_are_refused_or_read) {
  const std::string file = file_of(
      "{" + entry("a", "F32", "2, 2", "0,16") + ", " + entry("b", "BF16", "3", "16,22") + "}",
      std::string(22, 'x'));
  for (size_t len = 0; len < file.size(); ++len)
    CHECK_MSG(!error_of_file(file.substr(0, len)).empty(), "%zu", len);
  size_t accepted = 0;
  for (size_t i = 0; i < file.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string corrupt = file;
      corrupt[i] = static_cast<char>(corrupt[i] ^ 1 << bit);
      accepted += error_of_file(corrupt).empty();
    }
  }
  // Flips of the data, of the names, of F16 for BF16 and of blanks pass; most of the header's do
  // not.
  CHECK_MSG(accepted >= 22 * 8 && accepted < 22 * 8 + 20, "%zu", accepted);
}

TEST(folders_without_readable_weights_are_refused) {
  Folder folder;
  CHECK_EQ(
      folder.error(),
      std::string(": no weights, expected model.safetensors or model.safetensors.index.json"));
  REQUIRE(mkdir((folder.path() + "/model.safetensors").c_str(), 0700) == 0);
  CHECK_EQ(folder.error(), std::string("/model.safetensors: not a file, expected a readable file"));
  REQUIRE(rmdir((folder.path() + "/model.safetensors").c_str()) == 0);
  REQUIRE(mkfifo((folder.path() + "/model.safetensors").c_str(), 0700) == 0);
  CHECK_EQ(folder.error(), std::string("/model.safetensors: not a file, expected a readable file"));
  REQUIRE(unlink((folder.path() + "/model.safetensors").c_str()) == 0);
  folder.write("model.safetensors", "");
  CHECK_EQ(folder.error(), std::string("/model.safetensors: size = 0 bytes, expected at least 8"));
}

TEST(a_broken_index_is_refused) {
  const Folder folder;
  const std::string a = "{" + entry("a", "F32", "1", "0,4") + "}";
  folder.write("one.safetensors", file_of(a, bytes_of({1})));
  folder.write("two.safetensors", file_of(a, bytes_of({2})));
  const struct {
    std::string index, error;
  } cases[] = {
      {"{", ": byte 1 = end of the text, expected a key"},
      {"[]", ": weight_map = missing, expected an object of file names"},
      {R"({"weight_map": 1})", ": weight_map = 1, expected an object of file names"},
      {R"({"weight_map": {}})", ": weight_map = an object, expected an object of file names"},
      {R"({"weight_map": {"a": 1}})",
       ": weight_map of tensor \"a\" = 1, expected the name of a file in the folder"},
      {R"({"weight_map": {"a": ""}})",
       ": weight_map of tensor \"a\" = \"\", expected the name of a file in the folder"},
      {R"({"weight_map": {"a": ".."}})",
       ": weight_map of tensor \"a\" = \"..\", expected the name of a file in the folder"},
      {R"({"weight_map": {"a": "../one.safetensors"}})",
       ": weight_map of tensor \"a\" = \"../one.safetensors\", expected the name of a file in the "
       "folder"},
      {R"({"weight_map": {"a": "/etc/passwd"}})",
       ": weight_map of tensor \"a\" = \"/etc/passwd\", expected the name of a file in the folder"},
      {R"({"weight_map": {"a": "one.safetensors\u0000x"}})",
       ": weight_map of tensor \"a\" = \"one.safetensors?x\", expected the name of a file in the "
       "folder"},
      {R"({"weight_map": {"b": "one.safetensors"}})",
       ": tensor \"b\" = not in \"one.safetensors\", expected there"},
  };
  for (const auto& c : cases) {
    folder.write("model.safetensors.index.json", c.index);
    CHECK_EQ(folder.error(), "/model.safetensors.index.json" + c.error);
  }
  folder.write("model.safetensors.index.json", R"({"weight_map": {"a": "no.safetensors"}})");
  CHECK_EQ(
      folder.error(),
      std::string("/no.safetensors: No such file or directory, expected a readable file"));
  folder.write(
      "model.safetensors.index.json",
      R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
  CHECK_EQ(
      folder.error(), "/two.safetensors: tensor \"a\" = also in " + folder.path() +
                          "/one.safetensors, expected in one file only");
}
