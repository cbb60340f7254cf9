// Time of a model's passes: its prompt, plain decoding, and trees of 16 and 64 nodes behind it. Prints lines of a record
// (record.h). The device is that of ESPALIER_TEST_DEVICE (tests/support/device.h). Weights may be random: the time is the same.
//
//   model_bench DIR [--context 1024] [--passes 32] [--seconds 900] | tests/bench/gpu/table.py -
//
// Rows that did not begin within the seconds are left out by name; one that hangs is named, and ends the program.
// Times are the wall's, from the call to the accepted tokens: what a step of decoding waits for.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <vector>

#include "espalier.h"
#include "model/config.h"
#include "record.h"
#include "support/device.h"
#include "watchdog.h"

namespace {

using espalier_bench::line_of;
using espalier_bench::Row;
using espalier_bench::Watchdog;
using Clock = std::chrono::steady_clock;

void ok(espalier_status status) {
  if (status == ESPALIER_OK) return;
  std::fprintf(stderr, "model_bench: %s\n", espalier_last_error());
  std::exit(1);
}

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/** Median seconds of a pass over a binary tree and its commit of node 0, choices read back. */
double pass_seconds(espalier_session* session, int32_t seq, int nodes, int passes) {
  std::vector<int32_t> token(nodes), parent(nodes), choice(nodes), path(nodes);
  for (int i = 0; i < nodes; ++i) token[i] = 1 + i % 50, parent[i] = i == 0 ? -1 : (i - 1) / 2;
  const int32_t begin[] = {0, nodes};
  std::vector<double> seconds;
  for (int i = -3; i < passes; ++i) {  // the first ones warm up, and are captured
    const auto start = Clock::now();
    ok(espalier_session_forward(session, 1, &seq, begin, token.data(), parent.data(), 0, nullptr));
    int32_t accept_len = 0;
    ok(espalier_session_verify(session, choice.data(), path.data(), &accept_len));
    accept_len = 0;
    ok(espalier_session_commit(session, path.data(), &accept_len));
    if (i >= 0) seconds.push_back(seconds_since(start));
  }
  std::nth_element(seconds.begin(), seconds.begin() + passes / 2, seconds.end());
  return seconds[passes / 2];
}

/** Memory of the device under test; 0 when it does not say. */
double device_memory() {
  const int32_t kind = espalier_test::on_cpu() ? ESPALIER_CPU : ESPALIER_CUDA;
  espalier_device_info info{};
  info.size = sizeof info;
  for (int32_t i = 0; i < espalier_device_count(); ++i) {
    if (espalier_device_describe(i, &info) == ESPALIER_OK && info.kind == kind && info.available) {
      return static_cast<double>(info.memory_bytes);
    }
  }
  return 0;
}

double weight_bytes(const std::string& dir) {
  double bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(dir)) {
    if (file.path().extension() == ".safetensors") bytes += static_cast<double>(file.file_size());
  }
  return bytes;
}

struct Run {
  std::string dir, name;
  int context = 1024, passes = 32, seconds = 900;
  int32_t pages() const { return (context + 4 * (passes + 3) + 128) / 16 + 2; }
};

constexpr int kTrees[] = {1, 16, 64};  // nodes of the passes

/** What a run measures, in its order. */
std::vector<Row> rows_of(const Run& run) {
  Row prompt{"model", run.name, {{"prompt", run.context}}};
  prompt.more = {{"nodes", 0}, {"tokens", run.context}};
  std::vector<Row> rows = {prompt};
  for (const int nodes : kTrees) {
    rows.push_back({"model", run.name, {{"context", run.context}, {"nodes", nodes}}});
  }
  return rows;
}

/** Asks the device before its memory is taken: why the model and its cache have no room; empty when they have. */
std::string why_no_room(const Run& run) {
  const espalier::ModelConfig config = espalier::read_config(run.dir);
  const double token_bytes =
      4.0 * config.num_layers * config.num_kv_heads * config.head_dim;  // K and V of 16 bits
  const double wanted = weight_bytes(run.dir) + token_bytes * 16 * run.pages() + 0.5e9;
  const double there = device_memory();
  if (wanted <= there) return "";
  char why[100];
  std::snprintf(
      why, sizeof why, "left out: wants %.1f GB, the device has %.1f", wanted / 1e9, there / 1e9);
  return why;
}

void measure(const Run& run) {
  const auto began = Clock::now();
  const std::vector<Row> rows = rows_of(run);
  std::atomic<size_t> done = 0;
  const auto print = [](const Row& row) {
    std::printf("%s\n", line_of(row).c_str());
    std::fflush(stdout);
  };
  const Watchdog watchdog(began + espalier_bench::watchdog_time(run.seconds), [&] {
    for (size_t i = done; i < rows.size(); ++i) {
      print(i == done ? espalier_bench::hung(rows[i]) : espalier_bench::behind_a_hang(rows[i]));
    }
  });
  espalier_context* ctx = espalier_test::create_context(0);
  if (ctx == nullptr) ok(ESPALIER_UNAVAILABLE);
  if (const std::string why = why_no_room(run); !why.empty()) {
    for (Row row : rows) {
      row.why = why;
      print(row);
    }
    return espalier_context_destroy(ctx);
  }
  espalier_model* model = nullptr;
  ok(espalier_model_load(ctx, run.dir.c_str(), &model));
  espalier_model_info info{};
  info.size = sizeof info;
  ok(espalier_model_describe(model, &info));
  espalier_session_options options{};
  options.size = sizeof options;
  options.num_pages = run.pages();
  espalier_session* session = nullptr;
  ok(espalier_session_create(ctx, model, &options, &session));

  const double table = static_cast<double>(info.vocab) * info.hidden;
  const double parameters = static_cast<double>(info.num_parameters);
  const double multiplied = parameters - (info.tied_embeddings != 0 ? 0 : table);
  const double each = static_cast<double>(info.weight_bytes) / parameters;
  const auto row = [&](double tokens, double keys, const std::function<double()>& seconds_of) {
    Row next = rows[done];
    if (seconds_since(began) > run.seconds) {
      next.why = "left out: the time was over";
    } else {
      next.bytes =
          multiplied * each + keys * static_cast<double>(info.kv_elements_per_token) * each;
      next.flops = 2 * multiplied * tokens;
      next.seconds = seconds_of();
    }
    print(next);
    ++done;
  };
  const std::vector<int32_t> prompt(run.context, 1);
  int32_t seq = 0;
  row(run.context, 0, [&] {
    double seconds = 0;
    for (int i = 0; i < 2; ++i) {  // the first one warms up
      if (i > 0) ok(espalier_sequence_destroy(session, seq));
      ok(espalier_sequence_create(session, &seq));
      const auto start = Clock::now();
      ok(espalier_session_prefill(session, seq, prompt.data(), run.context));
      ok(espalier_synchronize(ctx));
      seconds = seconds_since(start);
    }
    return seconds;
  });
  for (const int nodes : kTrees) {
    row(nodes, run.context, [&] { return pass_seconds(session, seq, nodes, run.passes); });
  }
  espalier_session_destroy(session);
  espalier_model_destroy(model);
  espalier_context_destroy(ctx);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc % 2 != 0) {
    std::fprintf(stderr, "usage: model_bench DIR [--context N] [--passes N] [--seconds N]\n");
    return 2;
  }
  Run run;
  run.dir = argv[1];
  run.name = std::filesystem::absolute(run.dir).lexically_normal().filename().string();
  for (int i = 2; i + 1 < argc; i += 2) {
    int* option = std::strcmp(argv[i], "--context") == 0   ? &run.context
                  : std::strcmp(argv[i], "--passes") == 0  ? &run.passes
                  : std::strcmp(argv[i], "--seconds") == 0 ? &run.seconds
                                                           : nullptr;
    if (option == nullptr || std::atoi(argv[i + 1]) <= 0) {
      std::fprintf(
          stderr,
          "model_bench: %s %s, expected --context, --passes or --seconds and a number above 0\n",
          argv[i], argv[i + 1]);
      return 2;
    }
    *option = std::atoi(argv[i + 1]);
  }
  try {
    measure(run);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "model_bench: %s\n", e.what());
    return 1;
  }
  return 0;
}
