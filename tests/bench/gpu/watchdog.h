// Ends a program whose device does not answer: nothing else could.
#ifndef ESPALIER_TESTS_BENCH_GPU_WATCHDOG_H
#define ESPALIER_TESTS_BENCH_GPU_WATCHDOG_H

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "record.h"

namespace espalier_bench {

/** Calls `tell` at its time and ends the process with exit code 1, unless it is destroyed before. */
class Watchdog {
 public:
  using Clock = std::chrono::steady_clock;

  Watchdog(Clock::time_point at, std::function<void()> tell)
      : thread_([this, at, tell = std::move(tell)] {
          std::unique_lock lock(mutex_);
          if (ended_.wait_until(lock, at, [&] { return done_; })) return;
          tell();
          std::fflush(stdout);
          _exit(1);  // no destructor waits for the device
        }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    ended_.notify_one();
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  std::thread thread_;
};

/** When a program ends whose rows begin within `seconds`: the last of them has half as much, and 2 s. */
inline Watchdog::Clock::duration watchdog_time(double seconds) {
  return std::chrono::duration_cast<Watchdog::Clock::duration>(
      std::chrono::duration<double>(1.5 * seconds + 2));
}

constexpr const char* kHung = "did not end in its time";

/** A row that was at work when its program was ended. */
inline Row hung(Row row) {
  row.why = kHung;
  row.failed = true;
  return row;
}
inline Row behind_a_hang(Row row) {
  row.why = "left out: what came before did not end in its time";
  return row;
}

}  // namespace espalier_bench

#endif
