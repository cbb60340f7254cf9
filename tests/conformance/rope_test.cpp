// Rope angles against those of Hugging Face transformers, in tests/models/golden/rope.json (made by
// golden.py).
#include "model/rope.h"

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "check.h"
#include "model/config.h"
#include "model/json.h"
#include "runtime/status.h"

namespace {

using espalier::Json;

const std::string kGolden =
    (std::filesystem::path(__FILE__).parent_path().parent_path() / "models" / "golden").string();

std::string write_json(const Json& json) {
  std::string out;
  if (json.is_object()) {
    for (const auto& [key, value] : json.object)
      out += (out.empty() ? "\"" : ",\"") + key + "\":" + write_json(value);
    return "{" + out + "}";
  }
  if (json.is_array()) {
    for (const Json& value : json.array) out += (out.empty() ? "" : ",") + write_json(value);
    return "[" + out + "]";
  }
  char number[40];
  std::snprintf(number, sizeof number, "%.17g", json.number);
  return json.is_number() ? number : espalier::shown(json);
}

}  // namespace

TEST(angles_are_those_of_transformers) {
  const Json cases =
      espalier::parse_json(espalier::read_file(kGolden + "/rope.json", 1 << 24), "rope.json");
  CHECK(cases.array.size() >= 9);
  for (const Json& c : cases.array) {
    const std::string name = c.find("name")->string;
    const auto config = espalier::parse_config(write_json(*c.find("config")), name);
    const size_t half = config.head_dim / 2;
    std::vector<float> cos(half), sin(half);
    for (size_t p = 0; p < c.find("positions")->array.size(); ++p) {
      const int32_t position = static_cast<int32_t>(c.find("positions")->array[p].integer);
      espalier::rope_angles(config.rope, position, cos.data(), sin.data());
      for (size_t i = 0; i < half; ++i) {
        // pow of two libraries differs by up to 2 ulp and five roundings follow, so a frequency is
        // off by less than 2^-21 of itself and the angle by that much; cos and sin themselves by
        // less than 2^-22.
        const double angle = position * static_cast<double>(config.rope.inv_freq[i]);
        const double bound = (std::ldexp(angle, -21) + std::ldexp(1, -22)) * config.rope.scale;
        const double cos_error = std::fabs(cos[i] - c.find("cos")->array[p].array[i].number);
        const double sin_error = std::fabs(sin[i] - c.find("sin")->array[p].array[i].number);
        CHECK_MSG(
            cos_error <= bound && sin_error <= bound,
            "%s: position %d, dimension %zu: errors %g, %g, bound %g", name.c_str(), position, i,
            cos_error, sin_error, bound);
      }
    }
  }
}

TEST(dynamic_angles_depend_on_the_position_alone) {
  espalier::RopeConfig rope;
  rope.kind = espalier::RopeKind::kDynamic;
  rope.head_dim = 8;
  rope.factor = 2;
  rope.original_max_positions = 16;
  espalier::prepare_rope(&rope);
  espalier::RopeConfig plain = rope;
  plain.kind = espalier::RopeKind::kDefault;
  float a[8], b[8];
  for (int32_t position : {0, 1, 15, 16, 40}) {
    espalier::rope_angles(rope, 1000, b, b + 4);
    espalier::rope_angles(rope, position, a, a + 4);
    espalier::rope_angles(plain, position, b, b + 4);
    // Within the original context nothing is scaled; beyond it all but the first frequency are.
    CHECK_EQ(std::equal(a, a + 8, b), position < 16);
    CHECK(a[0] == b[0] && a[4] == b[4]);
  }
}

TEST(frequencies_that_are_not_finite_are_refused) {
  espalier::RopeConfig rope;
  rope.head_dim = 8;
  rope.theta = 0;
  bool refused = false;
  try {
    espalier::prepare_rope(&rope);
  } catch (const espalier::Error& e) {
    refused = e.status() == ESPALIER_BAD_MODEL;
  }
  CHECK(refused);
}
