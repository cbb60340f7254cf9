// Kernels with a planted bug, each with a clean sibling: the same kernel with bug = false.
#ifndef ESPALIER_TESTS_SIMT_PLANTED_H
#define ESPALIER_TESTS_SIMT_PLANTED_H

#include <optional>
#include <vector>

#include "emulator.h"

/** What sees the bug: the emulated primitive, or the check of a plain load or store, which AddressSanitizer may replace. */
enum class SeenBy { kPrimitive, kAccess, kAccessOrAsan };

struct Planted {
  const char* name;  // the lines to blame carry the comment `BUG name`
  simt::emulated::Defect defect;
  SeenBy seen_by;
  void (*run)(bool bug);
  std::optional<simt::emulated::Defect> also =
      std::nullopt;  // which one comes first depends on the order of lanes
};

const std::vector<Planted>& planted();

#endif
