// Checks of argument values that several calls share.
#ifndef ESPALIER_RUNTIME_CHECKS_H
#define ESPALIER_RUNTIME_CHECKS_H

#include "espalier.h"

namespace espalier {

/** Throws ESPALIER_INVALID_ARGUMENT when a field of the sampling is out of its range. */
void check_sampling(const espalier_sampling& sampling);

}  // namespace espalier

#endif
