// The library as it is shipped, on whatever machine this is: it gives a card that computes, or says why not.
#include <string>

#include "check.h"
#include "ops.h"

namespace {

using namespace ops;

espalier_device_info described(int32_t entry) {
  espalier_device_info info{};
  info.size = sizeof info;
  ok(espalier_device_describe(entry, &info));
  return info;
}

}  // namespace

TEST(a_card_computes_or_the_reason_is_known) {
  const espalier_status status = espalier_backend_load(ESPALIER_CUDA_LIBRARY);
  const std::string text = status == ESPALIER_OK ? "" : espalier_last_error();
  const espalier_device_info cuda = described(1);
  CHECK_EQ(described(0).available, 1);
  espalier_context* ctx = nullptr;
  if (status == ESPALIER_OK) {
    std::printf("  %s, %s, prompts: %s\n", cuda.name, cuda.instructions, cuda.prompt_gemm);
    const std::string prompts = cuda.prompt_gemm;
    CHECK(prompts.rfind("cuBLASLt ", 0) == 0 || prompts.rfind("own kernels: ", 0) == 0);
    CHECK(cuda.memory_bytes > 0);
    ok(espalier_context_create(ESPALIER_CUDA, 0, 0, &ctx));
    ok(espalier_synchronize(ctx));
    espalier_context_destroy(ctx);
    return;
  }
  CHECK_EQ(status, ESPALIER_UNAVAILABLE);
  CHECK_EQ(text, std::string("espalier_backend_load: ") + cuda.reason);
  const std::string reason = cuda.reason;
  std::printf("  %s\n", reason.c_str());
  bool known = false;
  for (const char* start :
       {"no NVIDIA driver found", "no NVIDIA GPU found", "NVIDIA driver for CUDA ",
        "NVIDIA GPU not usable: "}) {
    known |= reason.rfind(start, 0) == 0;
  }
  CHECK_MSG(known, "reason = %s, expected one that library.cpp gives", reason.c_str());
  refused(
      espalier_context_create(ESPALIER_CUDA, 0, 0, &ctx), ESPALIER_UNAVAILABLE,
      "espalier_context_create: " + reason);
}
