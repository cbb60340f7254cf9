// Kernels with a planted bug, each with a clean sibling: the same kernel with bug = false.
#ifndef ESPALIER_TESTS_SIMT_PLANTED_H
#define ESPALIER_TESTS_SIMT_PLANTED_H

#include <optional>
#include <vector>

#include "emulator.h"

struct Planted {
  const char* name;  // the lines to blame carry the comment `BUG name`
  simt::emulated::Defect defect;
  bool by_access;  // found in plain loads and stores: by the emulator's own checks, or by AddressSanitizer if it can
  void (*run)(bool bug);
  std::optional<simt::emulated::Defect> also = std::nullopt;  // which one comes first depends on the order of lanes
};

const std::vector<Planted>& planted();

#endif
