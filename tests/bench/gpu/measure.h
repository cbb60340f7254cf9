// Measuring one case: memory for it, calls that take turns on inputs of their own, and the median of many steps.
//
// Steps   many calls in one step, which a GPU replays as one graph: no launch from the host is in the time
// Cold    calls in turn touch more memory than the caches hold, and copies run before each step
// Warm    the same copies bring the clocks up, and keep the device busy until the host has launched the step
#ifndef ESPALIER_TESTS_BENCH_GPU_MEASURE_H
#define ESPALIER_TESTS_BENCH_GPU_MEASURE_H

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ops/ops.h"
#include "record.h"

namespace espalier_bench {

using espalier::Backend;
using espalier::Type;
using espalier::Weight;

struct Limits {
  size_t cold_bytes;    // calls in turn touch at least this much: more than the caches hold
  size_t memory_bytes;  // that a case may take, all in all
  double seconds;       // of measuring for each case
  double most_seconds;  // of all cases; those behind are left out, by name
};

/** Takes the time of what is enqueued between begin and end. */
class Timer {
 public:
  virtual ~Timer() = default;
  virtual void begin() = 0;
  virtual void end() = 0;
  virtual double seconds() = 0;  // waits
};

/** The host's clock, for a backend that computes on the host. */
class HostTimer final : public Timer {
 public:
  explicit HostTimer(Backend& backend) : backend_(backend) {}
  void begin() override {
    backend_.synchronize();
    begin_ = Clock::now();
  }
  void end() override { backend_.synchronize(), end_ = Clock::now(); }
  double seconds() override { return std::chrono::duration<double>(end_ - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Backend& backend_;
  Clock::time_point begin_, end_;
};

class Bench {
 public:
  /** Enqueues call i of a case; empty, or why it cannot. */
  using Call = std::function<std::string(size_t i)>;

  Bench(Backend& backend, Timer& timer, const Limits& limits, std::function<void(const Row&)> sink)
      : backend_(backend), timer_(timer), limits_(limits), sink_(std::move(sink)) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 2.5f);  // as logits, neither flat nor peaked
    floats_.resize(kPeriod);
    for (float& x : floats_) x = normal(random);
    halves_.resize(kPeriod);
    // Sign and fraction by chance, the size of a weight: no value is special.
    for (uint16_t& x : halves_) x = static_cast<uint16_t>(0x3c00 + (random() & 0x83ff));
    heat_bytes_ = std::min(limits.cold_bytes, limits.memory_bytes / 8);
    for (void*& memory : heat_) memory = backend.allocate(heat_bytes_);
  }
  ~Bench() {
    free_all();
    for (void* memory : heat_) backend_.release(memory);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  Backend& backend() { return backend_; }
  const std::vector<Row>& rows() const { return rows_; }
  /** Whether a case failed that should have run. */
  bool failed() const {
    return std::any_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.failed; });
  }

  // ---------------------------------------------------------------------------------------------------- memory

  /** A family of cases takes so many bytes: those up to free_all are left out where there are fewer. */
  void needs(double bytes) {
    const auto memory = static_cast<double>(limits_.memory_bytes - 2 * heat_bytes_);
    if (bytes <= memory) return;
    char why[100];
    std::snprintf(
        why, sizeof why, "left out: wants %.1f GB, the device has %.1f", bytes / 1e9, memory / 1e9);
    no_room_ = why;
  }

  /** Why a case does not run now; empty when it does. What it would take is null then, and costs no time. */
  std::string why_not() const {
    if (seconds_since(began_) > limits_.most_seconds) return "left out: the time was over";
    return no_room_;
  }
  bool runs() const { return why_not().empty(); }

  /** Zeroed memory until free_all. */
  template <class T>
  T* fresh(size_t count) {
    if (!runs()) return nullptr;
    memory_.push_back(backend_.allocate(std::max<size_t>(count, 1) * sizeof(T)));
    return static_cast<T*>(memory_.back());
  }
  template <class T>
  T* filled(const std::vector<T>& values) {
    T* data = fresh<T>(values.size());
    if (data != nullptr) backend_.upload(data, values.data(), values.size() * sizeof(T));
    return data;
  }
  float* floats(size_t count) { return repeated(floats_, count); }
  /** 16-bit values. */
  uint16_t* halves(size_t count) { return repeated(halves_, count); }
  /** A bf16 weight of any values. */
  Weight weight(int64_t n, int64_t k) {
    if (!runs()) return {nullptr, Type::kBf16, n, k};
    const auto count = static_cast<size_t>(n * k);
    const size_t made = halves_.size();
    halves_.resize(
        std::max(made, count));  // the first values again: kPeriod is no multiple of a row
    for (size_t i = made; i < count; ++i) halves_[i] = halves_[i - kPeriod];
    weights_.push_back(backend_.prepare_weight(halves_.data(), Type::kBf16, n, k));
    return weights_.back();
  }

  void free_all() {
    backend_.synchronize();
    backend_.drop_steps(owner_);
    for (const Weight& each : weights_) backend_.release_weight(each);
    for (void* memory : memory_) backend_.release(memory);
    weights_.clear();
    memory_.clear();
    no_room_.clear();
  }

  /** Number of inputs of this size that calls take in turn. */
  size_t turns(double bytes) const {
    return static_cast<size_t>(
        std::clamp(static_cast<double>(limits_.cold_bytes) / bytes + 1, 1.0, kMostCalls));
  }

  // ------------------------------------------------------------------------------------------------------ time

  /** Measures an op of the backend, whose calls take `turns` inputs in turn. */
  double measure(Row row, size_t turns, const std::function<void(size_t)>& op) {
    if (runs() && backend_.begin_planning()) {
      op(0);
      backend_.end_planning();
    }
    return measure_call(std::move(row), turns, [&](size_t i) {
      op(i);
      return std::string();
    });
  }

  /** The same of what a peer enqueues on the backend's stream. The row's seconds, 0 where it did not run. */
  double measure_call(Row row, size_t turns, const Call& call) {
    row.why = why_not();
    if (!row.why.empty()) {
      add(std::move(row));
      return 0;
    }
    ++owner_;
    try {
      row.seconds = median_seconds(std::max<size_t>(turns, 1), call, &row.why);
    } catch (const std::exception& e) {  // of the timer: the device broke, and says so from now on
      row.why = e.what();
      row.failed = true;
    }
    const espalier::Failure failure = backend_.take_failure();
    if (failure.status != ESPALIER_OK) {
      row.seconds = 0;
      row.why = failure.text;
      row.failed = row.peer.empty() && failure.status != ESPALIER_OUT_OF_MEMORY;
    }
    backend_.drop_steps(owner_);
    add(row);
    return row.seconds;
  }

 private:
  static constexpr size_t kPeriod = (size_t{1} << 20) + 7;
  static constexpr double kMostCalls = 512;  // in a step
  static constexpr int kHeatCopies = 8;
  using Clock = std::chrono::steady_clock;

  static double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  void add(Row row) {
    sink_(row);
    rows_.push_back(std::move(row));
  }

  /** The values again and again; on the device, so that gigabytes are quick. */
  template <class T>
  T* repeated(const std::vector<T>& values, size_t count) {
    T* data = fresh<T>(count);
    if (data == nullptr) return nullptr;
    size_t done = std::min(count, kPeriod);
    backend_.upload(data, values.data(), done * sizeof(T));
    while (done < count) {
      const size_t more = std::min(done, count - done);
      backend_.copy(data + done, data, more * sizeof(T));
      done += more;
    }
    return data;
  }

  double median_seconds(size_t turns, const Call& call, std::string* why) {
    size_t calls = 0;
    const auto heat = [&] {
      for (int i = 0; i < kHeatCopies; ++i) {
        backend_.copy(heat_[i % 2], heat_[1 - i % 2], heat_bytes_);
      }
    };
    const auto step = [&](size_t repeats) {
      heat();
      timer_.begin();
      if (backend_.begin_step(owner_, {static_cast<int32_t>(repeats)})) {
        for (size_t i = 0; i < repeats && why->empty(); ++i) *why = call(calls++ % turns);
        backend_.end_step();
      }
      timer_.end();
      return timer_.seconds();
    };
    // The device may have waited while the host packed weights, and its clocks went down.
    for (double warm = 0; warm < limits_.seconds;) {
      timer_.begin();
      heat();
      timer_.end();
      warm += std::max(timer_.seconds(), 1e-6);
    }
    step(1);
    double once = step(1);
    if (!why->empty()) return 0;
    // Nearer to what calls take behind each other.
    if (once < limits_.seconds / 8) once = step(8) / 8;
    const double wanted = limits_.seconds / 5 / std::max(once, 1e-9);
    // All inputs have their turn in a step, if there is the time: a graph repeats those it was captured with.
    const auto repeats = static_cast<size_t>(std::clamp(
        std::max(wanted, std::min(static_cast<double>(turns), 5 * wanted)), 1.0, kMostCalls));
    step(repeats), step(repeats);  // as it is called, and as it is captured
    std::vector<double> times;
    double sum = 0;
    while (sum < limits_.seconds || times.size() < 3) {
      times.push_back(step(repeats));
      sum += std::max(times.back(), 1e-6);
      if (times.size() == kMostSteps) break;
    }
    if (!why->empty()) return 0;
    const auto middle = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle / static_cast<double>(repeats);
  }

  static constexpr size_t kMostSteps = 200;

  Backend& backend_;
  Timer& timer_;
  const Limits limits_;
  std::function<void(const Row&)> sink_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
  void* heat_[2] = {};
  size_t heat_bytes_ = 0;
  std::vector<Weight> weights_;
  std::vector<void*> memory_;
  std::vector<Row> rows_;
  uint64_t owner_ = 0;
  std::string no_room_;  // why a family is left out
  const Clock::time_point began_ = Clock::now();
};

}  // namespace espalier_bench

#endif
