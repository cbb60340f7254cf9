// The device that a test program runs on. A program says create_context and not which: the same tests run on all.
#ifndef ESPALIER_TESTS_SUPPORT_DEVICE_H
#define ESPALIER_TESTS_SUPPORT_DEVICE_H

#include <cstdint>

#include "espalier.h"

namespace espalier_test {

/**
 * A context of the device under test, or null with espalier_last_error. The environment variable ESPALIER_TEST_DEVICE
 * is cpu, or replay: the CPU backend that records every step and replays it, as the CUDA backend does; or the path of a
 * backend library, whose first device it is then. A library without a device ends the program with 77, skipped.
 */
espalier_context* create_context(int num_threads);

/**
 * Whether the CPU backend computes. Others do not read the values of buffers to check them, and round activations to the
 * type of 16-bit weights and caches, as matrix units do.
 */
bool on_cpu();

/** Whether the device is emulated thread by thread: some ten thousand times as slow, so that a test does less. */
bool is_emulated();

/** Blocks of kernels that the device ran, in this process; -1 when it does not count them. */
int64_t num_blocks();

/** Steps that were replayed instead of called, in this process; -1 when the device never does that. */
int64_t num_replays();

}  // namespace espalier_test

#endif
