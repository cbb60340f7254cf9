// Times of the CPU ops next to their floor: bytes that must be read, at the speed of a plain
// streaming read of the same threads in the same run, or multiply-adds, at the speed of those of
// registers alone, whichever takes longer. Cases take turns, one round after the other, and medians
// are printed, so that a disturbance hits all alike.
//
// With one thread, --cpu-time counts the time of that thread and not the wall's.
//
//   espalier_bench [--rounds N] [--threads N] [--cpu-time] [part of a case's name]...
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cpu/convert.h"
#include "cpu/cpu_backend.h"
#include "cpu/instructions.h"

namespace espalier {
constexpr int kMultiplyAdds = 192;
}
#define ESPALIER_KERNEL "bench/native/multiply_adds_kernel.h"
#include "cpu/each_path.h"

namespace {

using namespace espalier;

// Time of this thread instead of the wall's: what a busy machine takes away does not count.
bool cpu_clock = false;

double now() {
  timespec t;
  clock_gettime(cpu_clock ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

struct Case {
  std::string op, shape, type;
  double bytes;          // that must be read; 0 where bytes do not bound it
  double multiply_adds;  // 0 where they do not bound it
  std::function<void()> run;
  std::vector<double> seconds;
};

/** The sum of a buffer's words with 32 bytes at a time: as fast as the machine reads. */
uint64_t read_all(ThreadPool& pool, const std::vector<uint16_t>& data) {
  using Words = uint64_t __attribute__((vector_size(32)));
  const Words* words = reinterpret_cast<const Words*>(data.data());
  std::atomic<uint64_t> total{0};
  pool.parallel_for(
      static_cast<int64_t>(data.size() / 16), 1 << 14, [&](int64_t begin, int64_t end) {
        Words sum[8] = {};
        for (int64_t i = begin; i + 8 <= end; i += 8) {
          for (int j = 0; j < 8; ++j) sum[j] += words[i + j];
        }
        for (int j = 1; j < 8; ++j) sum[0] += sum[j];
        total += sum[0][0] + sum[0][1] + sum[0][2] + sum[0][3];
      });
  return total;
}

/** The multiply-adds of a path of the CPU, `rounds` times kMultiplyAdds. */
float multiply_adds(int64_t rounds) {
#if defined(__x86_64__)
  if (cpu_path() == Instructions::kAvx512) return avx512::multiply_adds(rounds);
  if (cpu_path() == Instructions::kAvx2) return avx2::multiply_adds(rounds);
#endif
  return plain::multiply_adds(rounds);
}

class Bench {
 public:
  explicit Bench(int threads) : pool_(threads), backend_(make_cpu_backend(threads)) {
    std::mt19937_64 engine(1);
    std::normal_distribution<float> normal;
    floats_.resize(std::max<size_t>(64 * 14336, 64 * 128256 / 8));
    for (float& x : floats_) x = 2.5f * normal(engine);  // as logits, neither flat nor peaked
    weight_.resize(28672 * 4096);                        // 235 MB of bf16
    for (size_t i = 0; i < weight_.size(); ++i)
      weight_[i] = static_cast<uint16_t>(0x3c00 + (engine() & 0x83ff));
    out_.resize(64 * 128256);
    kv_ = static_cast<uint16_t*>(backend_->allocate(2 * kKvElements));
    std::copy_n(weight_.data(), kKvElements, kv_);
  }

  ~Bench() { backend_->release(kv_); }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void add_streaming_read() {
    add("streaming read", "235 MB", "-", 2.0 * weight_.size(),
        [this] { sink_ = read_all(pool_, weight_); });
  }

  void add_multiply_adds() {
    constexpr int64_t kRounds = 100000;
    const int64_t threads = pool_.num_threads();
    add(
        "multiply-adds", "registers alone", "fp32", 0,
        [this, threads] {
          pool_.parallel_for(threads, 1, [this](int64_t, int64_t) {
            if (multiply_adds(kRounds) == 0) sink_ = 0;
          });
        },
        static_cast<double>(threads) * kRounds * kMultiplyAdds);
  }

  void add_gemm(const char* name, int64_t m, int64_t n, int64_t k, bool gate) {
    SkinnyGemmArgs args;
    args.x = floats_.data();
    args.part[0] = {{weight_.data(), Type::kBf16, n, k}, {}, out_.data()};
    if (gate) args.up = {weight_.data() + n * k, Type::kBf16, n, k};
    args.m = m;
    const double weights = static_cast<double>(n * k * (gate ? 2 : 1));
    add(
        name, shape("m %lld, n %lld, k %lld", m, n, k), "bf16", 2 * weights,
        [this, args] { backend_->skinny_gemm(args); }, static_cast<double>(m) * weights);
  }

  void add_attention(int rows, int kv_len) {
    const int page = 16, q_heads = 32, kv_heads = 8, head_dim = 128;
    auto tables = std::make_shared<std::vector<int32_t>>();
    const int max_pages = kv_len / page;
    for (int p = 0; p < max_pages; ++p) tables->push_back(p * 7919 % max_pages);
    const auto at = [&](std::vector<int32_t> values) {
      const size_t begin = tables->size();
      tables->insert(tables->end(), values.begin(), values.end());
      return begin;
    };
    const size_t kv_len_at = at({kv_len}), seq_at = at(std::vector<int32_t>(rows, 0));
    std::vector<int32_t> depth, ancestors(rows * rows, 0);
    for (int r = 0; r < rows; ++r) {
      depth.push_back(r == 0 ? 0 : depth[(r - 1) / 2] + 1);  // a binary tree
      if (r > 0) std::copy_n(&ancestors[(r - 1) / 2 * rows], depth[r], &ancestors[r * rows]);
      ancestors[r * rows + depth[r]] = kv_len + r;
    }
    const size_t depth_at = at(depth), ancestors_at = at(ancestors);
    TreeAttentionArgs args{};
    args.q = floats_.data();
    args.k_cache = kv_;
    args.v_cache = kv_ + kKvElements / 2;
    args.kv_type = Type::kBf16;
    args.page_table = tables->data();
    args.kv_len = tables->data() + kv_len_at;
    args.row_seq = tables->data() + seq_at;
    args.depth = tables->data() + depth_at;
    args.ancestor_slot = tables->data() + ancestors_at;
    args.scale = 0.088f;
    args.out = out_.data();
    args.rows = rows;
    args.max_pages = max_pages;
    args.max_depth = rows;
    args.page_size = page;
    args.num_q_heads = q_heads;
    args.num_kv_heads = kv_heads;
    args.head_dim = head_dim;
    add("tree_attention", shape("rows %lld, kv_len %lld, 32/8 heads of 128", rows, kv_len), "bf16",
        2.0 * 2 * kv_len * kv_heads * head_dim,
        [this, args, tables] { backend_->tree_attention(args); });
  }

  void add_sample(
      int64_t rows, int32_t vocab, const char* what, const espalier_sampling& sampling) {
    auto samplings = std::make_shared<std::vector<espalier_sampling>>(rows, sampling);
    auto ints = std::make_shared<std::vector<int32_t>>(4 * rows + 1, 0);
    SampleArgs args{};
    args.logits = floats_.data();
    args.history = ints->data();
    args.history_begin = ints->data();
    args.position = ints->data() + rows + 1;
    args.sampling = samplings->data();
    args.token = ints->data() + 2 * rows + 1;
    args.bad = ints->data() + 3 * rows + 1;
    args.rows = rows;
    args.vocab = vocab;
    args.k = 1;
    add("sample", shape("rows %lld, vocab %lld, ", rows, vocab) + what, "fp32", 4.0 * rows * vocab,
        [this, args, samplings, ints] { backend_->sample(args); });
  }

  void add_top_k(int64_t rows, int32_t vocab, int32_t k) {
    auto idx = std::make_shared<std::vector<int32_t>>(rows * k);
    const TopKArgs args{floats_.data(), idx->data(), nullptr, rows, vocab, k};
    add("top_k", shape("rows %lld, vocab %lld, k %lld", rows, vocab, k), "fp32", 4.0 * rows * vocab,
        [this, args, idx] { backend_->top_k(args); });
  }

  void add_rms_norm(int64_t rows) {
    const RmsNormArgs args{floats_.data(), weight_.data(), Type::kBf16, 1e-5f,
                           out_.data(),    rows,           4096};
    add("rms_norm", shape("rows %lld, hidden 4096", rows), "fp32", 8.0 * rows * 4096,
        [this, args] { backend_->rms_norm(args); });
  }

  void run(int rounds, const std::vector<std::string>& wanted) {
    const auto is_wanted = [&](const Case& c) {
      const std::string name = c.op + " " + c.shape;
      if (wanted.empty() || &c < &cases_[2]) return true;
      return std::any_of(wanted.begin(), wanted.end(), [&](const std::string& w) {
        return name.find(w) != std::string::npos;
      });
    };
    for (int round = -1; round < rounds; ++round) {  // the first one warms up
      for (Case& c : cases_) {
        if (!is_wanted(c)) continue;
        // Short cases are repeated, so that the clock and the threads' waking do not show.
        int repeats = 0;
        const double begin = now();
        do {
          c.run();
          ++repeats;
        } while (now() - begin < 2e-3);
        if (round >= 0) c.seconds.push_back((now() - begin) / repeats);
      }
    }
    const double bandwidth = cases_[0].bytes / median(cases_[0].seconds);
    const double peak = cases_[1].multiply_adds / median(cases_[1].seconds);
    std::printf(
        "%d threads%s, %s, streaming read %.1f GB/s, %.1f multiply-adds a ns, median of %d "
        "rounds\n",
        pool_.num_threads(), cpu_clock ? " (CPU time)" : "", cpu_instructions(), bandwidth / 1e9,
        peak / 1e9, rounds);
    std::printf(
        "%-15s %-42s %-5s %10s %10s %8s\n", "op", "shape", "type", "time us", "floor us",
        "floor/time");
    for (const Case& c : cases_) {
      if (!is_wanted(c)) continue;
      const double time = median(c.seconds);
      const double floor = std::max(c.bytes / bandwidth, c.multiply_adds / peak);
      std::printf(
          "%-15s %-42s %-5s %10.1f %10.1f %7.0f%%\n", c.op.c_str(), c.shape.c_str(), c.type.c_str(),
          time * 1e6, floor * 1e6, 100 * floor / time);
    }
  }

 private:
  void add(
      const char* op, const std::string& shape, const char* type, double bytes,
      std::function<void()> run, double multiply_adds = 0) {
    cases_.push_back({op, shape, type, bytes, multiply_adds, std::move(run), {}});
  }

  template <class... Args>
  static std::string shape(const char* format, Args... args) {
    char text[100];
    std::snprintf(text, sizeof text, format, static_cast<long long>(args)...);
    return text;
  }

  ThreadPool pool_;
  std::unique_ptr<Backend> backend_;
  static constexpr int64_t kKvElements = int64_t{2} * (8192 + 128) * 8 * 128;

  std::vector<uint16_t> weight_;
  uint16_t* kv_ = nullptr;
  std::vector<float> floats_, out_;
  std::vector<Case> cases_;
  volatile uint64_t sink_ = 0;
};

espalier_sampling sampling(float temperature, float top_p, int32_t top_k) {
  espalier_sampling s{};
  s.size = sizeof s;
  s.temperature = temperature;
  s.top_p = top_p;
  s.top_k = top_k;
  s.repetition_penalty = 1;
  s.seed = 1;
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 7, threads = 0;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
      rounds = std::max(1, std::atoi(argv[++i]));
    } else if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
      threads = std::atoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--cpu-time") == 0) {
      threads = 1;
      cpu_clock = true;
    } else {
      wanted.push_back(argv[i]);
    }
  }
  Bench bench(threads);
  bench.add_streaming_read();
  bench.add_multiply_adds();
  for (const int64_t m : {1, 2, 4, 8, 16, 64}) bench.add_gemm("skinny_gemm", m, 28672, 4096, false);
  for (const int64_t m : {1, 8}) bench.add_gemm("gated gemm", m, 14336, 4096, true);
  for (const int64_t m : {1, 8}) bench.add_gemm("skinny_gemm", m, 4096, 14336, false);
  for (const int64_t m : {1, 8}) bench.add_gemm("skinny_gemm", m, 2048, 256, false);
  for (const int rows : {1, 8, 64}) bench.add_attention(rows, 1024);
  for (const int rows : {1, 8, 64}) bench.add_attention(rows, 8192);
  for (const int rows : {1, 8}) {
    bench.add_sample(rows, 128256, "greedy", sampling(0, 1, 0));
    bench.add_sample(rows, 128256, "temperature 0.8", sampling(0.8f, 1, 0));
    bench.add_sample(rows, 128256, "top_p 0.9", sampling(0.8f, 0.9f, 0));
    bench.add_sample(rows, 128256, "top_k 50", sampling(0.8f, 1, 50));
    bench.add_top_k(rows, 128256, 8);
  }
  bench.add_rms_norm(1);
  bench.add_rms_norm(64);
  bench.run(rounds, wanted);
}
