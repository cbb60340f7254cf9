// Times of the CUDA backend's ops next to their floors, on the first GPU.
//
//   gpu_bench [--quick] [--peers FILE]     FILE: what peers.py printed
#include <cstdio>
#include <cstring>
#include <fstream>

#include "cases.h"
#include "cuda_backend.h"
#include "simt/runtime.h"

int main(int argc, char** argv) {
  bool quick = false;
  const char* peers = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      quick = true;
    } else if (std::strcmp(argv[i], "--peers") == 0 && i + 1 < argc) {
      peers = argv[++i];
    } else {
      std::fprintf(
          stderr, "gpu_bench: argument = '%s', expected --quick or --peers FILE\n", argv[i]);
      return 2;
    }
  }
  try {
    if (simt::num_devices() == 0) throw std::runtime_error("no NVIDIA GPU found");
  } catch (const std::exception& e) {
    std::printf("skipped: %s\n", e.what());
    return 77;
  }
  const auto backend = espalier::make_cuda_backend(0);
  const simt::DeviceProperties card = simt::properties_of(0);
  espalier_bench::Cases cases(*backend, espalier_bench::llama_8b(quick));
  const double speed = cases.copy_speed();
  cases.run_all();
  std::printf(
      "%s, sm_%d%d, %d SMs, copy %.0f GB/s read and written\n", card.name.c_str(), card.major,
      card.minor, card.num_sms, speed / 1e9);
  std::vector<espalier_bench::Row> rows = cases.rows();
  if (peers != nullptr) {
    std::ifstream in(peers);
    espalier_bench::read_peers(in, &rows);
  }
  espalier_bench::print_table(rows, speed);
  return 0;
}
