#include "cpu/thread_pool.h"

#include <algorithm>
#include <chrono>

namespace espalier {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

/** Spins until done() or until the time is over; whether done. */
template <class Done>
bool spin(Done&& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  if (num_threads <= 0) num_threads = std::max(1u, std::thread::hardware_concurrency());
  workers_.reserve(num_threads - 1);
  try {
    for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // The system gives no more threads: go on with those that there are.
  }
}

ThreadPool::~ThreadPool() {
  closing_ = true;
  ++epoch_;
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Call call, void* body, int64_t count, int64_t grain) {
  call_ = call;
  body_ = body;
  count_ = count;
  grain_ = grain;
  num_ranges_ = (count + grain - 1) / grain;
  failure_ = nullptr;
  unfinished_.store(num_ranges_, std::memory_order_relaxed);
  untaken_.store(num_ranges_);
  ++epoch_;
  epoch_.notify_all();
  while (take_range()) {
  }
  const auto finished = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  while (!spin(finished)) std::this_thread::yield();
  if (failure_) std::rethrow_exception(failure_);
}

bool ThreadPool::take_range() {
  int64_t left = untaken_.load(std::memory_order_relaxed);
  do {
    if (left <= 0) return false;
  } while (!untaken_.compare_exchange_weak(
      left, left - 1, std::memory_order_acquire, std::memory_order_relaxed));
  // A range is ours: until it is finished the job cannot change.
  const int64_t begin = (num_ranges_ - left) * grain_;
  try {
    call_(body_, begin, std::min(begin + grain_, count_));
  } catch (...) {
    const std::lock_guard<std::mutex> lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
  unfinished_.fetch_sub(1, std::memory_order_release);
  return true;
}

void ThreadPool::work() {
  while (!closing_) {
    const uint32_t epoch = epoch_.load();
    while (take_range()) {
    }
    if (closing_) return;
    if (!spin([&] { return epoch_.load(std::memory_order_relaxed) != epoch; })) epoch_.wait(epoch);
  }
}

}  // namespace espalier
