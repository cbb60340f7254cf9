// Sizes for tests of the benchmark itself.
#ifndef ESPALIER_TESTS_BENCH_GPU_TINY_H
#define ESPALIER_TESTS_BENCH_GPU_TINY_H

#include "cases.h"

namespace espalier_bench {

inline Sizes tiny() {
  return {
      .hidden = 64,
      .intermediate = 96,
      .vocab = 500,
      .draft_vocab = 100,
      .q_heads = 4,
      .kv_heads = 2,
      .head_dim = 64,
      .page_size = 16,
      .layers = 2,
      .square = 80,
      .copy_bytes = 1 << 14,
      .rows = {1, 8},
      .prompts = {70},
      .nodes = {1, 5},
      .before = {0, 50},
      .contexts = {{40, 1}, {70, 3}},
      .published = {64, 1},
      .others =
          {{.label = "pages of 32", .page_size = 32},
           {.label = "heads of 128", .head_dim = 128},
           {.label = "window", .window = 20},
           {.label = "soft-cap", .soft_cap = 50}},
      .draws = {1, 3}};
}

/** Rows of tiny() on a backend, without peers. */
constexpr size_t kTinyRows = 2 + 5 * 2 + 4 * 1 + 2 + 2 * 2 + 2 * 2 + 1 + 4 * 2 + 2 * 2 + 2 * 5 + 2 +
                             1 + 2 + 2 * 2 + 1 + 1 + 4;

inline Limits tiny_limits() {
  return {
      .cold_bytes = 1 << 15, .memory_bytes = size_t{1} << 30, .seconds = 1e-4, .most_seconds = 100};
}

}  // namespace espalier_bench

#endif
