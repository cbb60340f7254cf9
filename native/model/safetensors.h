// Tensors of a Hugging Face model folder, memory-mapped and checked.
#ifndef ESPALIER_MODEL_SAFETENSORS_H
#define ESPALIER_MODEL_SAFETENSORS_H

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ops/ops.h"

namespace espalier {

/** A tensor in host memory, row major, aligned to its element size. */
struct TensorView {
  const void* data = nullptr;
  Type type = Type::kFp32;  // kFp32, kBf16 or kFp16
  std::vector<int64_t> shape;
};

/** Where the header of a safetensors file says that a tensor lies. */
struct TensorEntry {
  std::string name;
  std::string dtype;  // as the file spells it, for instance BF16
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  // bytes, from the start of the file
};

/**
 * Checks a whole safetensors file and lists its tensors by offset: header within the file, known
 * types, sizes equal to the ranges, and ranges that cover the data without gap or overlap. `path`
 * is for error texts. Throws Error.
 */
std::vector<TensorEntry> parse_safetensors(std::string_view file, const std::string& path);

/**
 * The tensors of a folder, from model.safetensors or from the shards that
 * model.safetensors.index.json names. Views stay valid as long as the object that gave them, moved
 * or not. Data is used where it is mapped, except tensors that lie at an address not divisible by
 * their element size: those are copied once, at open. A file that is cut short while it is mapped
 * ends the process on the next read, as for every memory-mapped file.
 */
class Tensors {
 public:
  /** Maps and checks all files. Throws Error with ESPALIER_BAD_MODEL. */
  static Tensors open(const std::string& dir);

  Tensors(Tensors&&) noexcept;
  Tensors& operator=(Tensors&&) noexcept;
  ~Tensors();

  bool has(const std::string& name) const;

  /**
   * A tensor of floats that must have the shape. Throws Error, naming the tensor, what it has and
   * what is expected.
   */
  TensorView get(const std::string& name, const std::vector<int64_t>& shape) const;

  /** Bytes of all tensors. */
  int64_t total_bytes() const;

 private:
  struct Impl;
  explicit Tensors(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace espalier

#endif
