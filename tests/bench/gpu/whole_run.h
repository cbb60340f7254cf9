// A whole run within its time: what is asked of the device, then every case. Nothing that was planned is missing in the record,
// whether the time was over before it or the device hung.
#ifndef ESPALIER_TESTS_BENCH_GPU_WHOLE_RUN_H
#define ESPALIER_TESTS_BENCH_GPU_WHOLE_RUN_H

#include <atomic>

#include "cases.h"
#include "watchdog.h"

namespace espalier_bench {

/** The cases of a run in their order, none of them measured. */
inline std::vector<Row> planned(
    Backend& backend, Timer& timer, const Sizes& sizes, const std::vector<GemmPeer>& peers,
    const std::vector<PromptPeer>& prompt_peers = {}) {
  const Limits no_time{.cold_bytes = 1, .memory_bytes = 8, .seconds = 0, .most_seconds = -1};
  Bench bench(backend, timer, no_time, [](const Row&) {});
  Cases(bench, sizes, peers, prompt_peers).run_all();
  return bench.rows();
}

/** Prints the lines of the record. False when something failed; a device that hangs ends the process with exit code 1. */
inline bool whole_run(
    Backend& backend, Timer& timer, const Sizes& sizes, const Limits& limits,
    std::vector<GemmPeer> peers, const std::function<void(const std::string&)>& print,
    const std::vector<PromptPeer>& prompt_peers = {}) {
  const auto ends = Watchdog::Clock::now() + watchdog_time(limits.most_seconds);
  std::atomic<size_t> done = 0;
  Bench bench(backend, timer, limits, [&](const Row& row) {
    print(line_of(row));
    ++done;
  });
  Line bits;
  {
    const std::vector<Row> plan = planned(backend, timer, sizes, peers, prompt_peers);
    const Watchdog watchdog(ends, [&] {
      print(Line().text("question", kBitsOfRows).text("answer", kHung).failed().str());
      for (const Row& row : plan) print(line_of(behind_a_hang(row)));
    });
    std::erase_if(peers, [&](const GemmPeer& peer) {
      const std::string wrong = why_wrong(bench, peer);
      if (!wrong.empty()) print(Line().text("peer", peer.name).text("why", wrong).str());
      return !wrong.empty();
    });
    bits = Cases(bench, sizes).bits_of_rows();
    print(bits.str());
  }
  const std::vector<Row> plan = planned(backend, timer, sizes, peers, prompt_peers);
  const Watchdog watchdog(ends, [&] {
    for (size_t i = done; i < plan.size(); ++i) {
      print(line_of(i == done ? hung(plan[i]) : behind_a_hang(plan[i])));
    }
  });
  Cases(bench, sizes, peers, prompt_peers).run_all();
  return !bench.failed() && !bits.has_failed();
}

}  // namespace espalier_bench

#endif
