// Writes a model folder of random weights, for benchmarks of time; text and acceptance of such a model mean nothing.
//
//   random_model DIR [--layers 2] [--hidden 40] [--intermediate 72] [--q-heads 4] [--kv-heads 2] [--head-dim 16]
//                [--vocab 61] [--positions 256] [--seed 1] [--untied 1] [--tokenizer tokenizer.json]
#include "support/random_model.h"

#include <cstdlib>
#include <map>

int main(int argc, char** argv) {
  espalier_test::RandomModel m;
  int seed = 1, untied = 0;
  std::string tokenizer;
  const std::map<std::string, int*> options = {
      {"--layers", &m.layers},   {"--hidden", &m.hidden},     {"--intermediate", &m.intermediate},
      {"--q-heads", &m.q_heads}, {"--kv-heads", &m.kv_heads}, {"--head-dim", &m.head_dim},
      {"--vocab", &m.vocab},     {"--seed", &seed},           {"--positions", &m.max_positions},
      {"--untied", &untied}};
  if (argc < 2 || argv[1][0] == '-') {
    std::fprintf(stderr, "usage: random_model DIR [--layers N] ... [--tokenizer tokenizer.json]\n");
    return 2;
  }
  for (int i = 2; i + 1 < argc; i += 2) {
    const auto found = options.find(argv[i]);
    if (found != options.end() && std::atoi(argv[i + 1]) > 0) {
      *found->second = std::atoi(argv[i + 1]);
    } else if (std::strcmp(argv[i], "--tokenizer") == 0) {
      tokenizer = argv[i + 1];
    } else {
      std::fprintf(
          stderr, "random_model: %s %s, expected an option of the usage and a number above 0\n",
          argv[i], argv[i + 1]);
      return 2;
    }
  }
  m.seed = static_cast<uint64_t>(seed);
  m.tied = untied == 0;
  const std::string dir = argv[1];
  std::error_code failed;
  std::filesystem::create_directories(dir, failed);
  write_random_model(m, dir);
  if (!tokenizer.empty()) {
    std::filesystem::copy_file(
        tokenizer, dir + "/tokenizer.json", std::filesystem::copy_options::overwrite_existing,
        failed);
  }
  if (failed || !std::filesystem::exists(dir + "/model.safetensors")) {
    std::fprintf(
        stderr, "random_model: %s could not be written: %s\n", dir.c_str(),
        failed.message().c_str());
    return 1;
  }
  return 0;
}
