// Every case of the benchmark on the emulated device: packed weights, planned memory, graphs, each access checked.
#include "check.h"
#include "cuda_backend.h"
#include "tiny.h"

using namespace espalier_bench;

TEST(every_case_runs_on_the_emulated_device) {
  const auto device = espalier::make_cuda_backend(0);
  HostTimer timer(*device);
  Bench bench(*device, timer, tiny_limits(), [](const Row&) {});
  Cases cases(bench, tiny());
  cases.run_all();
  CHECK_EQ(bench.rows().size(), kTinyRows);
  for (const Row& row : bench.rows()) {
    CHECK_MSG(row.seconds > 0 && !row.failed, "%s", line_of(row).c_str());
  }
  const Line bits = cases.bits_of_rows();
  CHECK_MSG(!bits.has_failed(), "%s", bits.str().c_str());
}
