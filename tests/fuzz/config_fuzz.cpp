// Fuzzing config.json: a config that is accepted can be computed with.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "runtime/status.h"

namespace {

void need(bool condition) {
  if (!condition) std::abort();
}

void check(const espalier::ModelConfig& c) {
  need(c.num_layers > 0 && c.hidden > 0 && c.intermediate > 0 && c.vocab > 0);
  need(c.num_kv_heads > 0 && c.num_q_heads % c.num_kv_heads == 0);
  need(c.head_dim > 0 && c.head_dim % 2 == 0 && c.rope.head_dim == c.head_dim);
  need(c.window.size() == static_cast<size_t>(c.num_layers));
  for (int32_t window : c.window) need(window >= 0);
  std::vector<float> cos(c.head_dim / 2), sin(c.head_dim / 2);
  for (int32_t position : {0, c.max_positions / 2, c.max_positions - 1}) {
    espalier::rope_angles(c.rope, position, cos.data(), sin.data());
    for (float x : cos) need(std::isfinite(x));
    for (float x : sin) need(std::isfinite(x));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(espalier::parse_config({reinterpret_cast<const char*>(data), size}, "input"));
  } catch (const espalier::Error& e) {
    need(e.status() == ESPALIER_BAD_MODEL);
  }
  return 0;
}
