// The threads of a CPU context.
#include "cpu/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <vector>

#include "check.h"

using espalier::ThreadPool;

TEST(every_element_is_in_one_range) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    CHECK_EQ(pool.num_threads(), threads);
    for (const int64_t count : {0, 1, 2, 7, 100, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(count);
        std::atomic<int64_t> longest{0};
        pool.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++seen[i];
          int64_t before = longest;
          while (end - begin > before && !longest.compare_exchange_weak(before, end - begin)) {
          }
        });
        CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& s) { return s == 1; }));
        CHECK(threads == 1 || longest <= grain);
      }
    }
  }
}

TEST(many_short_jobs_one_after_the_other) {
  ThreadPool pool(3);
  for (int job = 0; job < 5000; ++job) {
    std::atomic<int64_t> sum{0};
    pool.parallel_for(10, 1, [&](int64_t begin, int64_t) { sum += begin + job; });
    CHECK_EQ(sum.load(), 45 + 10 * job);
  }
}

TEST(an_exception_reaches_the_caller_and_the_pool_goes_on) {
  ThreadPool pool(2);
  for (int round = 0; round < 50; ++round) {
    bool caught = false;
    try {
      pool.parallel_for(20, 1, [&](int64_t begin, int64_t) {
        if (begin == round % 20) throw std::runtime_error("expected");
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    CHECK(caught);
    std::atomic<int> calls{0};
    pool.parallel_for(20, 1, [&](int64_t, int64_t) { ++calls; });
    CHECK_EQ(calls.load(), 20);
  }
}
