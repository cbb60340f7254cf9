// Times of the CUDA backend's ops next to their floors, on the first GPU.
//
//   gpu_bench [--quick]
#include <cstdio>
#include <cstring>

#include "cases.h"
#include "cuda_backend.h"
#include "simt/runtime.h"

int main(int argc, char** argv) {
  const bool quick = argc == 2 && std::strcmp(argv[1], "--quick") == 0;
  if (argc > 1 && !quick) {
    std::fprintf(stderr, "gpu_bench: argument = '%s', expected --quick\n", argv[1]);
    return 2;
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
  espalier_bench::print_table(cases.rows(), speed);
  return 0;
}
