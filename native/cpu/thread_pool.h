// The threads of a CPU context. The calling thread takes part; the others spin for a moment, then
// sleep.
#ifndef ESPALIER_CPU_THREAD_POOL_H
#define ESPALIER_CPU_THREAD_POOL_H

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

namespace espalier {

class ThreadPool {
 public:
  /** num_threads counts the calling thread; 0 stands for one per core. */
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  /**
   * Calls body(begin, end) for ranges of at most `grain` that together are 0 .. count - 1, on all
   * threads, and waits. The first exception of a body is thrown again here. Which thread takes
   * which range is left to chance, so a body must write the same for an element whatever its range.
   * One caller at a time; a body must not call it.
   */
  template <class Body>
  void parallel_for(int64_t count, int64_t grain, Body&& body) {
    if (count <= 0) return;
    if (count <= grain || workers_.empty()) {
      body(int64_t{0}, count);
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    run([](void* b, int64_t begin, int64_t end) { (*static_cast<Plain*>(b))(begin, end); },
        const_cast<void*>(static_cast<const void*>(&body)), count, grain);
  }

 private:
  using Call = void (*)(void* body, int64_t begin, int64_t end);

  void run(Call call, void* body, int64_t count, int64_t grain);
  bool take_range();
  void work();

  // The job. Written while no range is left to take, read after taking one, so the two never meet.
  Call call_ = nullptr;
  void* body_ = nullptr;
  int64_t count_ = 0, grain_ = 1, num_ranges_ = 0;
  std::exception_ptr failure_;
  std::mutex failure_mutex_;

  alignas(64) std::atomic<int64_t> untaken_{0};     // ranges that nobody has taken yet
  alignas(64) std::atomic<int64_t> unfinished_{0};  // ranges that are not done yet
  alignas(64) std::atomic<uint32_t> epoch_{0};      // changes with every job, to wake sleepers
  std::atomic<bool> closing_{false};
  std::vector<std::thread> workers_;
};

}  // namespace espalier

#endif
