// The primitives that every kernel is written in. A kernel file includes this header and nothing else of the hardware.
//
// Under nvcc each primitive is the hardware's instruction. Under g++ it is a call of the emulator in tests/simt, which
// runs every thread of a block as a fiber; docs/kernels/README.md says what it checks. A block has one dimension, a
// multiple of 32 threads, at most 1024. Warp primitives are collective: all lanes of the mask execute the same one.
#ifndef ESPALIER_SIMT_SIMT_H
#define ESPALIER_SIMT_SIMT_H

#include "simt/async.h"
#include "simt/atomic.h"
#include "simt/barrier.h"
#include "simt/convert.h"
#include "simt/index.h"
#include "simt/launch.h"
#include "simt/math.h"
#include "simt/mbarrier.h"
#include "simt/memory.h"
#include "simt/mma.h"
#include "simt/shared.h"
#include "simt/target.h"
#include "simt/warp.h"

#endif
