// Times of the CUDA ops on the first GPU, and of cuBLAS and CUTLASS where they are; prints the record of the run (record.h).
//
//   gpu_bench [--quick] [--seconds N] | tests/bench/gpu/table.py -
//
// Cases that did not begin within N seconds (1800, or 25 of a quick run) are left out by name. One that hangs is named, and
// ends the program half of that time later. Exit codes: 0, 1 where a case failed that should have run, 2 bad usage, 77 no GPU
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "cublas.h"
#include "cuda_backend.h"
#include "gemm/cublaslt_gemm.h"
#include "simt/runtime.h"
#include "whole_run.h"
#ifdef ESPALIER_WITH_CUTLASS
#include "cutlass_peer.h"
#endif

namespace {

using namespace espalier_bench;

/** Events on the stream: the device's own clock, without what the host does. */
class EventTimer final : public Timer {
 public:
  explicit EventTimer(cudaStream_t stream) : stream_(stream) {
    simt::require(cudaEventCreate(&begin_), "cudaEventCreate");
    simt::require(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~EventTimer() override {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  void begin() override { simt::require(cudaEventRecord(begin_, stream_), "cudaEventRecord"); }
  void end() override { simt::require(cudaEventRecord(end_, stream_), "cudaEventRecord"); }
  double seconds() override {
    simt::require(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float ms = 0;
    simt::require(cudaEventElapsedTime(&ms, begin_, end_), "cudaEventElapsedTime");
    return ms / 1e3;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_, end_;
};

void print(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);  // what is measured is not lost by what comes
}

void missing(const char* peer, const std::string& why) {
  print(Line().text("peer", peer).text("why", why).str());
}

bool is_number(const char* text) {
  char* end = nullptr;
  return std::strtod(text, &end) >= 0 && end != text && *end == 0;
}

/**
 * A prompt's op by cuBLASLt as the product does it, from the first row on; and the products of it alone, as they would be of weights
 * that lie unpacked. Where the two stand to our own kernels says from which row on cuBLASLt pays.
 */
class PromptsByCublasLt {
 public:
  /** Empty, or why it is not there. */
  std::string find(cudaStream_t stream) {
    stream_ = stream;
    std::vector<std::string> folders = espalier::cublaslt_folders();
    folders.insert(folders.begin(), ESPALIER_TOOLKIT_LIBRARIES);
    const espalier::CublasLtRule rule{1, kAlgorithmRows, 120000};
    std::string why;
    library_ = espalier::CublasLt::load(folders, rule.least_version, &why);
    if (library_ != nullptr) why = library_->open();
    if (why.empty())
      whole_ =
          std::make_unique<espalier::CublasLtGemm>(0, espalier::CublasLtOptions{folders, rule});
    return why;
  }

  std::vector<PromptPeer> peers() {
    const auto bytes = [this](const auto& args) {
      return std::max(whole_->workspace_bytes(args), espalier::CublasLt::kWorkspaceBytes);
    };
    const auto whole = [this](const auto& args, void* workspace) {
      return whole_->run(args, workspace, stream_) ? "" : espalier::cublaslt_state(0, 90, {});
    };
    const auto products = [this](const auto& args, void* workspace) {
      return multiply(args, workspace);
    };
    return {{"cuBLASLt, unpacking", bytes, whole}, {"cuBLASLt, products alone", bytes, products}};
  }

 private:
  static constexpr int64_t kAlgorithmRows = 512;

  /** Packed weights stand for unpacked ones, and their first rows for x: as many bytes of as random values. */
  std::string multiply(const espalier::SkinnyGemmArgs& args, void* workspace) {
    const espalier::GemmPart& part = args.part[0];
    const espalier::CublasLt::Product product{part.w.type, part.w.n, part.w.k, part.w.n};
    std::string why = args.m <= part.w.n ? library_->prepare(product, kAlgorithmRows)
                                         : "more rows than the weight has";
    for (const void* w : {part.w.data, args.up.data}) {
      if (w == nullptr || !why.empty()) continue;
      why = library_->multiply(
          product, args.m, part.w.data, w, nullptr, part.out, workspace, stream_);
    }
    return why;
  }

  cudaStream_t stream_ = nullptr;
  std::unique_ptr<espalier::CublasLt> library_;
  std::unique_ptr<espalier::CublasLtGemm> whole_;
};

constexpr size_t kPeerWorkspace = size_t{32} << 20;

int run(bool quick, double seconds) {
  cudaStream_t stream = nullptr;
  const auto backend = espalier::make_cuda_backend(0, &stream);
  const simt::DeviceProperties card = simt::properties_of(0);
  size_t available = 0, total = 0;
  simt::require(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  int driver = 0;
  simt::require(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  print(
      Line()
          .text("card", card.name)
          .text("capability", std::to_string(card.major) + "." + std::to_string(card.minor))
          .count("sms", card.num_sms)
          .count("memory_bytes", static_cast<int64_t>(total))
          .count("free_bytes", static_cast<int64_t>(available))
          .text(
              "driver_for",
              "CUDA " + std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10))
          .str());

  std::vector<GemmPeer> peers;
  void* workspace = backend->allocate(kPeerWorkspace);
  std::string why;
  const auto cublas =
      CuBlas::find({ESPALIER_TOOLKIT_LIBRARIES}, stream, workspace, kPeerWorkspace, &why);
  if (cublas != nullptr) {
    peers.push_back({"cuBLAS", [&](auto... args) { return cublas->multiply(args...); }});
  } else {
    missing("cuBLAS", why);
  }
  PromptsByCublasLt cublaslt;
  const std::string why_no_cublaslt = cublaslt.find(stream);
  if (!why_no_cublaslt.empty()) missing("cuBLASLt", why_no_cublaslt);
#ifdef ESPALIER_WITH_CUTLASS
  auto* multiply = cutlass_sm80_multiply;
#ifdef ESPALIER_WITH_CUTLASS_SM90
  if (card.major == 9 && card.minor == 0) multiply = cutlass_sm90_multiply;
#endif
  peers.push_back({"CUTLASS", [&, multiply](auto... args) {
                     return multiply(args..., workspace, kPeerWorkspace, stream);
                   }});
#else
  missing("CUTLASS", "built without its headers; ESPALIER_CUTLASS=ON takes them from a wheel");
#endif

  EventTimer timer(stream);
  // Some of the memory is for what ops and graphs take on their way.
  const bool good = whole_run(
      *backend, timer, llama_8b(quick), limits(quick, available - available / 8, seconds), peers,
      print, why_no_cublaslt.empty() ? cublaslt.peers() : std::vector<PromptPeer>());
  backend->release(workspace);
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  double seconds = -1;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      quick = true;
    } else if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc && is_number(argv[i + 1])) {
      seconds = std::atof(argv[++i]);
    } else {
      std::fprintf(
          stderr, "gpu_bench: argument = '%s', expected --quick or --seconds and a number\n",
          argv[i]);
      return 2;
    }
  }
  if (seconds < 0) seconds = quick ? kQuickSeconds : kMostSeconds;
  try {
    if (simt::num_devices() == 0) throw std::runtime_error("no NVIDIA GPU found");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "skipped: %s\n", e.what());
    return 77;
  }
  try {
    return run(quick, seconds);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_bench: %s\n", e.what());
    return 1;
  }
}
