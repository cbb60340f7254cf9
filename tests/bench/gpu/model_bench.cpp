// Time of a model's passes: plain decoding, and trees of 16 and 64 nodes relative to it, after a prompt of the given length. The
// device is that of ESPALIER_TEST_DEVICE (tests/support/device.h). Weights may be random: the time is the same.
//
//   model_bench DIR [--context 1024] [--passes 32]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "espalier.h"
#include "support/device.h"

namespace {

void ok(espalier_status status) {
  if (status == ESPALIER_OK) return;
  std::fprintf(stderr, "model_bench: %s\n", espalier_last_error());
  std::exit(1);
}

/** Median seconds of a pass over a binary tree and its commit of node 0, choices read back: what a step waits for. */
double pass_seconds(espalier_session* session, int32_t seq, int nodes, int passes) {
  using Clock = std::chrono::steady_clock;
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
    if (i >= 0) seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + passes / 2, seconds.end());
  return seconds[passes / 2];
}

}  // namespace

int main(int argc, char** argv) {
  int context = 1024, passes = 32;
  for (int i = 2; i + 1 < argc; i += 2) {
    int* option = std::strcmp(argv[i], "--context") == 0  ? &context
                  : std::strcmp(argv[i], "--passes") == 0 ? &passes
                                                          : nullptr;
    if (option == nullptr || std::atoi(argv[i + 1]) <= 0) {
      std::fprintf(
          stderr, "model_bench: %s %s, expected --context or --passes and a number above 0\n",
          argv[i], argv[i + 1]);
      return 2;
    }
    *option = std::atoi(argv[i + 1]);
  }
  if (argc < 2 || argc % 2 != 0) {
    std::fprintf(stderr, "usage: model_bench DIR [--context N] [--passes N]\n");
    return 2;
  }
  espalier_context* ctx = espalier_test::create_context(0);
  if (ctx == nullptr) ok(ESPALIER_UNAVAILABLE);
  espalier_model* model = nullptr;
  ok(espalier_model_load(ctx, argv[1], &model));
  espalier_model_info info{};
  info.size = sizeof info;
  ok(espalier_model_describe(model, &info));
  espalier_session_options options{};
  options.size = sizeof options;
  options.num_pages = (context + 4 * (passes + 3) + 128) / 16 + 2;
  espalier_session* session = nullptr;
  ok(espalier_session_create(ctx, model, &options, &session));
  int32_t seq = 0;
  ok(espalier_sequence_create(session, &seq));
  ok(espalier_session_prefill(session, seq, std::vector<int32_t>(context, 1).data(), context));
  const double plain = pass_seconds(session, seq, 1, passes);
  std::printf(
      "%.2f G parameters, context %d: plain %.2f ms, %.1f tokens/s, %.0f GB/s of weights\n",
      static_cast<double>(info.num_parameters) / 1e9, context, plain * 1e3, 1 / plain,
      static_cast<double>(info.weight_bytes) / plain / 1e9);
  for (const int nodes : {16, 64}) {
    const double tree = pass_seconds(session, seq, nodes, passes);
    std::printf("%d nodes: %.2f ms, %.2f x plain\n", nodes, tree * 1e3, tree / plain);
  }
  espalier_session_destroy(session);
  espalier_model_destroy(model);
  espalier_context_destroy(ctx);
  return 0;
}
