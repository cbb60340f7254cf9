// The norm of one row, for the ops that norm on their way.
#ifndef ESPALIER_CPU_RMS_NORM_H
#define ESPALIER_CPU_RMS_NORM_H

#include <cstdint>

#include "ops/ops.h"

namespace espalier {

/** out = x / sqrt(mean(x^2) + eps) * weight, over `len` elements; out may be x. */
void norm_row(const Norm& norm, const float* x, int64_t len, float* out);

}  // namespace espalier

#endif
