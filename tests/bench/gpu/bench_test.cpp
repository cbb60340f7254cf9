// The benchmark itself: every case on the CPU backend at small sizes; and its real sizes on a device that only counts.
#include <sys/wait.h>

#include <map>
#include <memory>
#include <set>
#include <stdexcept>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "tiny.h"
#include "whole_run.h"

using namespace espalier_bench;

namespace {

constexpr auto kQuiet = [](const Row&) {};

/**
 * A device that computes nothing and knows what its time would be: that of a modest card, 1 TB/s and 100 Tflop/s, 5 us
 * for a launch. Its memory has addresses and no bytes.
 */
class CountingDevice final : public Backend {
 public:
  double seconds = 0;
  int64_t held = 0, most_held = 0, uploaded = 0;

  int32_t kind() const override { return ESPALIER_CUDA; }
  void* allocate(size_t bytes) override {
    size_[next_] = static_cast<int64_t>(bytes);
    held += static_cast<int64_t>(bytes);
    most_held = std::max(most_held, held);
    return reinterpret_cast<void*>(next_++ << 40);
  }
  void release(void* data) override { held -= size_[reinterpret_cast<uintptr_t>(data) >> 40]; }
  void upload(void*, const void*, size_t bytes) override {
    uploaded += static_cast<int64_t>(bytes);
  }
  void download(void* to, const void*, size_t bytes) override { std::memset(to, 0, bytes); }
  void copy(void*, const void*, size_t bytes) override {
    take(2.0 * static_cast<double>(bytes), 0);
  }
  void synchronize() override {}
  Weight prepare_weight(const void*, Type type, int64_t n, int64_t k) override {
    uploaded += 2 * n * k;
    return {allocate(static_cast<size_t>(2 * n * k)), type, n, k, false};
  }
  void release_weight(const Weight& weight) override { release(const_cast<void*>(weight.data)); }

  void embed(const espalier::EmbedArgs&) override { take(0, 0); }
  void rms_norm(const espalier::RmsNormArgs&) override { take(0, 0); }
  void skinny_gemm(const espalier::SkinnyGemmArgs& args) override {
    const Weight& w = args.part[0].w;
    const double values = static_cast<double>(w.n * w.k) * (args.up.data != nullptr ? 2 : 1);
    take(2 * values, 2 * values * static_cast<double>(args.m));
  }
  void rope_and_append(const espalier::RopeAndAppendArgs&) override { take(0, 0); }
  void tree_attention(const espalier::TreeAttentionArgs& args) override {
    const double keys = static_cast<double>(args.max_pages) * args.page_size;
    take(
        4 * keys * args.num_kv_heads * args.head_dim * args.batch,
        4 * keys * args.num_q_heads * args.head_dim * static_cast<double>(args.rows));
  }
  void top_k(const espalier::TopKArgs& args) override {
    take(8.0 * args.vocab * static_cast<double>(args.rows), 0);
  }
  void sample(const espalier::SampleArgs& args) override {
    for (int launch = 0; launch < 9; ++launch)
      take(4.0 * args.vocab * static_cast<double>(args.rows), 0);
  }
  void verify(const espalier::VerifyArgs&) override { take(0, 0); }
  void verify_sampling(const espalier::VerifySamplingArgs& args) override {
    take(400.0 * args.vocab, 0);
  }
  void commit_kv(const espalier::CommitKvArgs&) override { take(0, 0); }
  void recycle_fill(const espalier::RecycleFillArgs&) override { take(0, 0); }
  void recycle_update(const espalier::RecycleUpdateArgs&) override { take(0, 0); }

 private:
  void take(double bytes, double flops) { seconds += 5e-6 + std::max(bytes / 1e12, flops / 1e14); }

  uintptr_t next_ = 1;
  std::map<uintptr_t, int64_t> size_;
};

/** The CPU backend, for what overrides some of it. */
class OverCpu : public Backend {
 public:
  int32_t kind() const override { return ESPALIER_CPU; }
  void* allocate(size_t bytes) override { return cpu_->allocate(bytes); }
  void release(void* data) override { cpu_->release(data); }
  void upload(void* to, const void* from, size_t bytes) override { cpu_->upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override {
    cpu_->download(to, from, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override { cpu_->copy(to, from, bytes); }
  void synchronize() override {}
  Weight prepare_weight(const void* host, Type type, int64_t n, int64_t k) override {
    return cpu_->prepare_weight(host, type, n, k);
  }
  void release_weight(const Weight& weight) override { cpu_->release_weight(weight); }
  void embed(const espalier::EmbedArgs& args) override { cpu_->embed(args); }
  void rms_norm(const espalier::RmsNormArgs& args) override { cpu_->rms_norm(args); }
  void skinny_gemm(const espalier::SkinnyGemmArgs& args) override { cpu_->skinny_gemm(args); }
  void rope_and_append(const espalier::RopeAndAppendArgs& args) override {
    cpu_->rope_and_append(args);
  }
  void tree_attention(const espalier::TreeAttentionArgs& args) override {
    cpu_->tree_attention(args);
  }
  void top_k(const espalier::TopKArgs& args) override { cpu_->top_k(args); }
  void sample(const espalier::SampleArgs& args) override { cpu_->sample(args); }
  void verify(const espalier::VerifyArgs& args) override { cpu_->verify(args); }
  void verify_sampling(const espalier::VerifySamplingArgs& args) override {
    cpu_->verify_sampling(args);
  }
  void commit_kv(const espalier::CommitKvArgs& args) override { cpu_->commit_kv(args); }
  void recycle_fill(const espalier::RecycleFillArgs& args) override { cpu_->recycle_fill(args); }
  void recycle_update(const espalier::RecycleUpdateArgs& args) override {
    cpu_->recycle_update(args);
  }

 private:
  std::unique_ptr<Backend> cpu_ = espalier::make_cpu_backend(1);
};

/** The time that a CountingDevice counts. */
class CountedTime final : public Timer {
 public:
  explicit CountedTime(const CountingDevice& device) : device_(device) {}
  void begin() override { begin_ = device_.seconds; }
  void end() override { end_ = device_.seconds; }
  double seconds() override { return end_ - begin_; }

 private:
  const CountingDevice& device_;
  double begin_ = 0, end_ = 0;
};

const Row* find(const std::vector<Row>& rows, const std::string& op, const std::string& shape) {
  for (const Row& row : rows) {
    if (row.op == op && shape_of(row) == shape && row.peer.empty()) return &row;
  }
  return nullptr;
}

}  // namespace

TEST(every_case_runs_and_takes_time) {
  const auto cpu = espalier::make_cpu_backend(2);
  HostTimer timer(*cpu);
  size_t told = 0;
  Bench bench(*cpu, timer, tiny_limits(), [&](const Row&) { ++told; });
  Cases(bench, tiny()).run_all();
  CHECK_EQ(bench.rows().size(), kTinyRows);
  CHECK_EQ(told, kTinyRows);
  CHECK(!bench.failed());
  for (const Row& row : bench.rows()) {
    CHECK_MSG(row.seconds > 0 && row.bytes > 0, "%s", line_of(row).c_str());
  }
}

TEST(bits_of_rows_are_equal_on_the_cpu) {
  const auto cpu = espalier::make_cpu_backend(2);
  HostTimer timer(*cpu);
  Bench bench(*cpu, timer, tiny_limits(), kQuiet);
  CHECK_EQ(
      Cases(bench, tiny()).bits_of_rows().str(),
      std::string(
          "{\"question\": \"Has a token the same bits alone and at any column of m16n8k16?\", "
          "\"answer\": \"yes, 428 rows of 64 sums over 96\"}"));
}

TEST(bits_of_rows_that_depend_on_their_number_are_found) {
  class Depends final : public OverCpu {
   public:
    void skinny_gemm(const espalier::SkinnyGemmArgs& args) override {
      OverCpu::skinny_gemm(args);
      if (args.m == 9) args.part[0].out[8 * args.part[0].w.n + 3] *= 1 + 0x1p-23f;
    }
  } device;
  HostTimer timer(device);
  Bench bench(device, timer, tiny_limits(), kQuiet);
  const std::string line = Cases(bench, tiny()).bits_of_rows().str();
  CHECK_MSG(
      line.find("no: row 8 among 9 from row 0 on\", \"failed\": true") != std::string::npos, "%s",
      line.c_str());
}

TEST(a_peer_multiplies_the_same_shapes_and_may_refuse_one) {
  const auto cpu = espalier::make_cpu_backend(1);
  HostTimer timer(*cpu);
  Bench bench(*cpu, timer, tiny_limits(), kQuiet);
  std::set<std::string> seen;
  const GemmPeer peer{
      "them", [&](const void*, const void*, void*, int64_t m, int64_t n, int64_t k) {
        if (m == 8 && n == 500) return std::string("no kernel");
        seen.insert(std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k));
        return std::string();
      }};
  Cases(bench, tiny(), {peer}).run_all();
  CHECK_EQ(bench.rows().size(), kTinyRows + 1 + 5 * 2 + 4);
  for (const char* shape :
       {"80x80x80", "1x512x64", "8x64x256", "1x192x64", "70x192x64", "8x64x96", "1x500x64"}) {
    CHECK_MSG(seen.count(shape) == 1, "%s was not asked for", shape);
  }
  for (const Row& row : bench.rows()) {
    if (row.peer.empty()) continue;
    const bool refused = row.why == "no kernel";
    CHECK_EQ(refused, shape_of(row) == "lm head, m 8, n 500, k 64");
    CHECK_EQ(row.seconds > 0, !refused);
    CHECK(find(bench.rows(), row.op, shape_of(row)) != nullptr);
  }
  CHECK(!bench.failed());  // a peer's refusal is no failure of this card
}

TEST(a_peer_of_prompts_takes_the_op_of_their_rows_alone) {
  const auto cpu = espalier::make_cpu_backend(1);
  HostTimer timer(*cpu);
  Bench bench(*cpu, timer, tiny_limits(), kQuiet);
  std::set<std::string> seen;
  const PromptPeer peer{
      "them", [](const espalier::SkinnyGemmArgs& args) { return static_cast<size_t>(args.m); },
      [&](const espalier::SkinnyGemmArgs& args, void* workspace) {
        CHECK(args.prompt && args.m == 70 && workspace != nullptr);
        CHECK(args.part[0].w.data != nullptr && args.part[0].out != nullptr && args.x != nullptr);
        const espalier::Weight& w = args.part[0].w;
        seen.insert(
            std::to_string(w.n) + "x" + std::to_string(w.k) +
            (args.up.data != nullptr ? "x2" : ""));
        return std::string(w.n == 64 && w.k == 96 ? "no kernel" : "");
      }};
  Cases(bench, tiny(), {}, {peer}).run_all();
  CHECK_EQ(bench.rows().size(), kTinyRows + 4);
  CHECK((seen == std::set<std::string>{"512x64", "64x256", "96x64x2", "64x96"}));
  for (const Row& row : bench.rows()) {
    if (row.peer.empty()) continue;
    CHECK_EQ(row.why, shape_of(row) == "down of a prompt, m 70, n 64, k 96" ? "no kernel" : "");
    CHECK(find(bench.rows(), row.op, shape_of(row)) != nullptr);
  }
  CHECK(!bench.failed());
}

TEST(a_peer_that_computes_something_else_is_found) {
  const auto cpu = espalier::make_cpu_backend(1);
  HostTimer timer(*cpu);
  Bench bench(*cpu, timer, tiny_limits(), kQuiet);
  // What the peer sees as w: the rows it should, or one row further.
  const auto peer_of = [](int64_t first_row) {
    return GemmPeer{
        "them",
        [first_row](const void* x, const void* w, void* y, int64_t m, int64_t n, int64_t k) {
          const auto value = [k](const void* of, int64_t row, int64_t col) {
            const auto bits = static_cast<uint32_t>(static_cast<const uint16_t*>(of)[row * k + col])
                              << 16;
            float read;
            std::memcpy(&read, &bits, 4);
            return read;
          };
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              float sum = 0;
              for (int64_t l = 0; l < k; ++l) {
                sum += value(x, i, l) * value(w, (j + first_row) % n, l);
              }
              uint32_t bits;
              std::memcpy(&bits, &sum, 4);
              static_cast<uint16_t*>(y)[i * n + j] = static_cast<uint16_t>(bits >> 16);
            }
          }
          return std::string();
        }};
  };
  CHECK_EQ(why_wrong(bench, peer_of(0)), std::string());
  CHECK_EQ(why_wrong(bench, peer_of(1)).rfind("computes something else: y[0, ", 0), size_t{0});
}

TEST(a_case_that_does_not_fit_is_left_out_and_says_so) {
  const auto cpu = espalier::make_cpu_backend(1);
  HostTimer timer(*cpu);
  Limits limits = tiny_limits();
  limits.memory_bytes = size_t{8} << 20;
  Sizes sizes = tiny();
  sizes.contexts = {{40000, 1}};
  Bench bench(*cpu, timer, limits, kQuiet);
  Cases(bench, sizes).run_all();
  // The whole family by name, and what comes behind it runs.
  CHECK_EQ(bench.rows().size(), kTinyRows - 2);  // of one context
  for (const Row& row : bench.rows()) {
    const bool large = row.op == "tree_attention" && shape_of(row).rfind("context 40000, ", 0) == 0;
    CHECK_EQ(row.why.rfind("left out: wants ", 0) == 0, large);
    CHECK_EQ(row.seconds > 0, !large);
  }
  for (const char* shape : {"context 40000, batch 1, nodes 1", "context 40000, batch 1, nodes 5"}) {
    CHECK(find(bench.rows(), "tree_attention", shape) != nullptr);
  }
  CHECK(!bench.failed());
}

TEST(cases_behind_the_time_limit_are_left_out_by_name) {
  class Slow final : public OverCpu {
   public:
    void commit_kv(const espalier::CommitKvArgs& args) override {
      if (!std::exchange(slept_, true)) std::this_thread::sleep_for(std::chrono::seconds(10));
      OverCpu::commit_kv(args);
    }

   private:
    bool slept_ = false;
  } device;
  HostTimer timer(device);
  Limits limits = tiny_limits();
  limits.most_seconds = 10;
  Bench bench(device, timer, limits, kQuiet);
  Cases(bench, tiny()).run_all();
  CHECK_EQ(bench.rows().size(), kTinyRows);
  bool over = false;
  for (const Row& row : bench.rows()) {
    CHECK_EQ(row.why, std::string(over ? "left out: the time was over" : ""));
    CHECK_EQ(row.seconds > 0, !over);
    over |= row.op == "commit_kv";
  }
  CHECK(bench.rows().front().op == "copy" && bench.rows().back().op == "prefill_attention");
  CHECK(!bench.failed());
}

/** Names cost nothing: neither memory nor work of the device nor the time to fill it. */
TEST(a_plan_has_the_cases_of_a_run_in_their_order) {
  CountingDevice device;
  CountedTime timer(device);
  const GemmPeer peer{"them", [](auto...) { return std::string(); }};
  const std::vector<Row> plan = planned(device, timer, llama_8b(true), {peer});
  CHECK_EQ(device.seconds, 0.0);
  CHECK_EQ(device.uploaded, 0);
  CHECK_EQ(device.most_held, 2);
  Bench bench(device, timer, limits(true, size_t{12} << 30, 1000), kQuiet);
  Cases(bench, llama_8b(true), {peer}).run_all();
  CHECK_EQ(plan.size(), bench.rows().size());
  for (size_t i = 0; i < std::min(plan.size(), bench.rows().size()); ++i) {
    const Row& row = bench.rows()[i];
    CHECK_EQ(plan[i].peer + plan[i].op + shape_of(plan[i]), row.peer + row.op + shape_of(row));
    CHECK_EQ(plan[i].why, std::string("left out: the time was over"));
  }
}

namespace {

/** Lines that `body` prints in a process of its own, and its exit code. */
std::vector<std::string> lines_of(
    const std::function<int(const std::function<void(const std::string&)>&)>& body, int* code) {
  int ends[2] = {};
  CHECK_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    _exit(body([&](const std::string& line) {
      const std::string text = line + "\n";
      if (write(ends[1], text.data(), text.size()) < 0) _exit(9);
    }));
  }
  close(ends[1]);
  std::string text;
  char some[4096];
  for (ssize_t got; (got = read(ends[0], some, sizeof some)) > 0;) {
    text.append(some, static_cast<size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  std::vector<std::string> lines;
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    lines.push_back(text.substr(at, end - at));
  }
  return lines;
}

bool has(const std::string& line, const std::string& text) {
  return line.find(text) != std::string::npos;
}

/** A device that hangs in an op. */
class Hangs final : public OverCpu {
 public:
  explicit Hangs(bool in_products) : in_products_(in_products) {}
  void skinny_gemm(const espalier::SkinnyGemmArgs& args) override {
    if (in_products_) pause();
    OverCpu::skinny_gemm(args);
  }
  void commit_kv(const espalier::CommitKvArgs&) override { pause(); }

 private:
  bool in_products_;
};

}  // namespace

TEST(a_hang_is_ended_and_named_and_so_is_what_is_behind_it) {
  for (const bool in_products : {false, true}) {
    const auto run = [&](const std::function<void(const std::string&)>& print) {
      Hangs device(in_products);
      HostTimer timer(device);
      Limits limits = tiny_limits();
      limits.most_seconds = 4;
      return whole_run(device, timer, tiny(), limits, {}, print) ? 0 : 2;
    };
    int code = 0;
    const auto began = std::chrono::steady_clock::now();
    const std::vector<std::string> lines = lines_of(run, &code);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    CHECK_EQ(code, 1);
    CHECK_MSG(seconds > 6 && seconds < 90, "%.1f s", seconds);
    CHECK_EQ(lines.size(), kTinyRows + 1);
    if (lines.size() != kTinyRows + 1) continue;
    CHECK_EQ(has(lines[0], "did not end in its time\", \"failed\": true"), in_products);
    bool behind = in_products;
    for (size_t i = 1; i < lines.size(); ++i) {
      const std::string& line = lines[i];
      if (!behind && has(line, "\"op\": \"commit_kv\"")) {
        behind = true;
        CHECK_MSG(has(line, "did not end in its time\", \"failed\": true"), "%s", line.c_str());
        continue;
      }
      CHECK_EQ(has(line, "left out: what came before did not end in its time"), behind);
      CHECK_EQ(has(line, "\"seconds\": "), !behind);
      CHECK(!has(line, "failed"));
    }
    CHECK(behind);
  }
}

TEST(a_run_without_time_names_everything_and_fails_nothing) {
  const auto cpu = espalier::make_cpu_backend(1);
  HostTimer timer(*cpu);
  Limits limits = tiny_limits();
  limits.most_seconds = -1;
  std::vector<std::string> lines;
  const GemmPeer peer{"them", [](auto...) { return std::string("not to be called"); }};
  const PromptPeer prompts{
      "they", [](auto&) -> size_t { throw std::logic_error("not to be asked"); },
      [](auto...) { return std::string("not to be called"); }};
  const auto print = [&](const std::string& line) { lines.push_back(line); };
  CHECK(whole_run(*cpu, timer, tiny(), limits, {peer}, print, {prompts}));
  CHECK_EQ(lines.size(), 1 + kTinyRows + 1 + 5 * 2 + 4 + 4);
  for (const std::string& line : lines) {
    CHECK_MSG(has(line, "left out: the time was over"), "%s", line.c_str());
  }
}

TEST(a_failure_of_the_backend_fails_its_row_alone) {
  class Fails final : public OverCpu {
   public:
    void skinny_gemm(const espalier::SkinnyGemmArgs& args) override {
      if (args.m != 8) return OverCpu::skinny_gemm(args);
      failure_.status = args.up.data != nullptr ? ESPALIER_OUT_OF_MEMORY : ESPALIER_DEVICE_FAILURE;
      std::snprintf(failure_.text, sizeof failure_.text, "it broke");
    }
    espalier::Failure take_failure() override { return std::exchange(failure_, {}); }

   private:
    espalier::Failure failure_;
  } device;
  HostTimer timer(device);
  Bench bench(device, timer, tiny_limits(), kQuiet);
  Cases(bench, tiny()).run_all();
  CHECK(bench.failed());
  for (const Row& row : bench.rows()) {
    const bool broke = row.op == "skinny_gemm" && row.sizes[0].second == 8;
    CHECK_EQ(row.why, std::string(broke ? "it broke" : ""));
    CHECK_EQ(row.seconds > 0, !broke);
    CHECK_EQ(row.failed, broke && row.label != "gate+up");  // too little memory is no defect
  }
}

TEST(a_device_that_breaks_leaves_its_word_in_every_row) {
  const auto cpu = espalier::make_cpu_backend(1);
  class Breaks final : public Timer {
   public:
    void begin() override {}
    void end() override {}
    double seconds() override {
      if (--steps_ < 0) throw std::runtime_error("unspecified launch failure");
      return 1e-3;
    }

   private:
    int steps_ = 50;
  } timer;
  Bench bench(*cpu, timer, tiny_limits(), kQuiet);
  Cases(bench, tiny()).run_all();
  CHECK_EQ(bench.rows().size(), kTinyRows);
  CHECK(bench.rows().front().seconds > 0);
  CHECK_EQ(bench.rows().back().why, std::string("unspecified launch failure"));
  CHECK(bench.rows().back().failed);
}

TEST(a_quick_run_keeps_to_its_time_on_a_modest_card) {
  CountingDevice device;
  CountedTime timer(device);
  const auto began = std::chrono::steady_clock::now();
  const double unlimited = 1e9;  // it is the card's time that counts, not this machine's
  Bench bench(device, timer, limits(true, size_t{12} << 30, unlimited), kQuiet);
  std::vector<GemmPeer> peers;
  for (const char* name : {"cuBLAS", "CUTLASS"}) {
    peers.push_back({name, [&](const void*, const void*, void*, int64_t m, int64_t n, int64_t k) {
                       device.seconds += 5e-6 + std::max(2e-12 * n * k, 2e-14 * m * n * k);
                       return std::string();
                     }});
  }
  Cases(bench, llama_8b(true), peers).run_all();
  const double host =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const double uploads =
      static_cast<double>(device.uploaded) / 1e9;  // weights are packed on the way
  std::printf(
      "  %zu rows: device %.1f s, uploads of %.1f GB %.1f s, host %.1f s; memory %.1f GB\n",
      bench.rows().size(), device.seconds, static_cast<double>(device.uploaded) / 1e9, uploads,
      host, static_cast<double>(device.most_held) / 1e9);
  for (const Row& row : bench.rows()) CHECK_MSG(row.seconds > 0, "%s", line_of(row).c_str());
  CHECK_EQ(device.held, 2 * (int64_t{256} << 20));
  CHECK_MSG(device.seconds + uploads <= kQuickSeconds, "%.1f s", device.seconds + uploads);
}

TEST(a_whole_run_has_the_shapes_of_the_8b_model) {
  CountingDevice device;
  CountedTime timer(device);
  Limits most = limits(false, size_t{140} << 30, kMostSeconds);
  most.seconds = 1e-9;  // shapes are looked at, not times
  Bench bench(device, timer, most, kQuiet);
  Cases(bench, llama_8b(false)).run_all();
  const auto wants = [&](const std::string& op, const std::string& shape) {
    const Row* row = find(bench.rows(), op, shape);
    CHECK_MSG(
        row != nullptr && row->seconds > 0, "%s %s was not measured", op.c_str(), shape.c_str());
    return row == nullptr ? Row{} : *row;
  };
  for (const int m : {1, 2, 4, 8, 16, 32, 64}) {
    const std::string rows = ", m " + std::to_string(m);
    for (const char* shape :
         {", n 6144, k 4096", ", n 4096, k 4096", ", n 28672, k 4096", ", n 4096, k 14336",
          ", n 128256, k 4096"}) {
      bool found = false;
      for (const char* layer : {"qkv", "o", "gate+up", "down", "lm head"}) {
        found |= find(bench.rows(), "skinny_gemm", layer + rows + shape) != nullptr;
      }
      CHECK_MSG(found, "no product of%s%s", rows.c_str(), shape);
    }
  }
  for (const int batch : {1, 4, 16, 64}) {
    for (const int context : {1024, 8192, 32768, 131072}) {
      for (const int nodes : {1, 8, 16, 64}) {
        wants(
            "tree_attention", "context " + std::to_string(context) + ", batch " +
                                  std::to_string(batch) + ", nodes " + std::to_string(nodes));
      }
    }
  }
  // The floors of kernel pages: bytes at 4.3 TB/s.
  CHECK(
      std::fabs(wants("skinny_gemm", "gate+up, m 1, n 28672, k 4096").bytes / 4.3e12 - 54.6e-6) <
      0.05e-6);
  CHECK(
      std::fabs(wants("tree_attention", "context 8192, batch 1, nodes 1").bytes / 4.3e12 - 7.8e-6) <
      0.05e-6);
  CHECK(
      std::fabs(wants("skinny_gemm", "lm head, m 64, n 128256, k 4096").flops / 790e12 - 85e-6) <
      1e-6);
  CHECK(
      std::fabs(
          wants("tree_attention", "context 131072, batch 1, nodes 64").flops / 790e12 - 174e-6) <
      5e-6);
  for (const int rows : {1, 64}) {
    const std::string shape = "rows " + std::to_string(rows) + ", vocab 128256";
    wants("top_k", shape + ", k 64");
    wants("sample", "top-k 40, top-p 0.9, " + shape);
  }
  wants("tree_attention", "64 query heads, pages of 32, context 8192, batch 1, nodes 1");
  const std::string at_8k = ", context 8192, batch 1, nodes ";
  for (const char* nodes : {"1", "16"}) {
    for (const char* kind :
         {"pages of 32", "pages of 64", "pages of 128", "heads of 64", "heads of 256", "window",
          "soft-cap"}) {
      wants("tree_attention", kind + at_8k + nodes);
    }
  }
  const double plain = wants("tree_attention", "context 8192, batch 1, nodes 1").bytes;
  CHECK_EQ(wants("tree_attention", "window" + at_8k + "1").bytes, plain / 2);
  CHECK_EQ(wants("tree_attention", "heads of 256" + at_8k + "1").bytes, plain * 2);
  CHECK(
      line_of(wants("tree_attention", "soft-cap" + at_8k + "16"))
          .find("\"page_size\": 16, \"window\": 0, \"soft_cap\": 50,") != std::string::npos);
  for (const char* rows : {"65", "256", "2048"}) {
    for (const char* kind : {"", "as a tree, "}) {
      for (const char* before : {"0", "8192", "32768"}) {
        wants("prefill_attention", std::string(kind) + "before " + before + ", rows " + rows);
      }
    }
  }
  wants("verify_sampling", "point mass, nodes 64, vocab 128256, accepted 0");
  wants("draft_head", "rows 1, vocab 32000, hidden 4096, k 10");
  wants("commit_kv", "moves 8, layers 32");
  wants("recycle_fill", "trees 1, nodes 64, vocab 128256, k 8");
  wants("recycle_update", "trees 64, nodes 64, vocab 128256, k 8");
  std::printf(
      "  %zu rows, memory %.1f GB\n", bench.rows().size(),
      static_cast<double>(device.most_held) / 1e9);
}

TEST(a_line_of_the_record_is_json) {
  Row row{"op", "a \"label\"", {{"m", 3}, {"n", 1 << 20}}, 1e6, 2e9};
  row.more = {{"heads", 4}};
  row.seconds = 1.25e-5;
  CHECK_EQ(
      line_of(row), std::string(
                        "{\"op\": \"op\", \"shape\": \"a \\\"label\\\", m 3, n 1048576\", "
                        "\"label\": \"a \\\"label\\\"\", \"m\": 3, "
                        "\"n\": 1048576, \"heads\": 4, \"bytes\": 1000000, \"flops\": 2e+09, "
                        "\"seconds\": 1.25e-05}"));
  row.peer = "them";
  row.seconds = 0;
  row.why = "C:\\x\n";
  CHECK_EQ(
      line_of(row), std::string(
                        "{\"op\": \"op\", \"shape\": \"a \\\"label\\\", m 3, n 1048576\", "
                        "\"peer\": \"them\", \"why\": \"C:\\\\x \"}"));
}
