// The CUDA backend: memory, copies and steps. The ops are their launchers; each runs behind the others of one stream.
//
// Host   uploads go through pinned memory, so none waits; download and synchronize wait. Matrices of 16 bits are packed there
// Steps  the first one of a shape runs as it is called; the second one is captured in a graph; each one behind is a
//        launch of that graph
// Memory ops work in one piece that a session asks for when it is made; only single ops may make it grow
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "cuda_backend.h"
#include "gemm/cublaslt_gemm.h"
#include "gemm/layout.h"
#include "launchers.h"
#include "simt/runtime.h"

namespace espalier {
namespace {

constexpr size_t kPinnedBytes = size_t{4} << 20;
constexpr size_t kMostGraphs = 256;  // the one used longest ago goes
constexpr int32_t kRowTile = 8;      // tokens of a matrix instruction

/** Pinned memory of the host that copies pass through. What lies there is safe until the stream was waited for. */
class Pinned {
 public:
  Pinned() : data_(static_cast<char*>(simt::allocate_pinned(kPinnedBytes))) {}
  ~Pinned() { simt::release_pinned(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  /** Room for the next copy, or null when there is none left. */
  char* take(size_t bytes) {
    if (bytes > kPinnedBytes - used_) return nullptr;
    char* room = data_ + used_;
    used_ += (bytes + 255) / 256 * 256;
    used_ = std::min(used_, kPinnedBytes);
    return room;
  }
  void reset() { used_ = 0; }

 private:
  char* data_;
  size_t used_ = 0;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(int device, const CublasLtOptions& cublaslt)
      : device_(device), stream_(open_stream(device)), cublaslt_(device, cublaslt) {
    turns_ = static_cast<int32_t*>(simt::allocate(kNumTurns * sizeof(int32_t)));
    simt::fill_zero(turns_, kNumTurns * sizeof(int32_t), stream_);
  }

  ~CudaBackend() override {
    attempt([&] { simt::wait(stream_); });
    steps_.clear();
    simt::release(workspace_);
    simt::release(turns_);
    simt::destroy_stream(stream_);
  }

  simt::Stream stream() const { return stream_; }
  int32_t kind() const override { return ESPALIER_CUDA; }
  Failure take_failure() override { return std::exchange(failure_, {}); }

  // ---------------------------------------------------------------------------------------------------- memory

  void* allocate(size_t bytes) override {
    void* data = nullptr;
    attempt([&] {
      data = simt::allocate(bytes);
      simt::fill_zero(data, bytes, stream_);
    });
    return data;
  }

  void release(void* data) override { simt::release(data); }

  void upload(void* to, const void* from, size_t bytes) override {
    attempt([&] {
      for (size_t done = 0; done < bytes;) {
        const size_t n = std::min(bytes - done, kPinnedBytes);
        char* pinned = pinned_.take(n);
        if (pinned == nullptr) {
          wait();
          continue;
        }
        std::memcpy(pinned, static_cast<const char*>(from) + done, n);
        simt::copy(static_cast<char*>(to) + done, pinned, n, stream_);
        done += n;
      }
    });
  }

  void download(void* to, const void* from, size_t bytes) override {
    attempt([&] {
      for (size_t done = 0; done < bytes;) {
        const size_t n = std::min(bytes - done, kPinnedBytes);
        char* pinned = pinned_.take(n);
        if (pinned == nullptr) {
          wait();
          continue;
        }
        simt::copy(pinned, static_cast<const char*>(from) + done, n, stream_);
        wait();
        std::memcpy(static_cast<char*>(to) + done, pinned, n);
        done += n;
      }
    });
  }

  void copy(void* to, const void* from, size_t bytes) override {
    attempt([&] { simt::copy_on_device(to, from, bytes, stream_); });
  }

  void synchronize() override {
    attempt([&] { wait(); });
  }

  Weight prepare_weight(const void* host, Type type, int64_t n, int64_t k) override {
    Weight weight{nullptr, type, n, k};
    weight.packed = n > 1 && k > 0 && type_bytes(type) == 2;
    attempt([&] {
      const int64_t bytes = weight.packed ? packed_bytes(n, k) : n * k * type_bytes(type);
      void* data = simt::allocate_readonly(static_cast<size_t>(bytes));
      weight.data = data;
      if (weight.packed) {
        upload_packed(data, static_cast<const char*>(host), n, k);
      } else {
        upload(data, host, static_cast<size_t>(bytes));
      }
    });
    return weight;
  }

  void release_weight(const Weight& weight) override {
    simt::release(const_cast<void*>(weight.data));
  }

  // ----------------------------------------------------------------------------------------------------- steps

  int32_t row_tile() const override { return kRowTile; }

  bool begin_step(uint64_t owner, const std::vector<int32_t>& shape) override {
    bool ops_wanted = false;
    attempt([&] {
      Step& step = steps_[{owner, shape}];
      step.used = ++clock_;
      if (step.graph) {
        step.graph.launch(stream_);
        return;
      }
      ops_wanted = true;
      if (step.seen) {
        simt::begin_capture(stream_);
        recording_ = &step;
      }
      step.seen = true;
    });
    return ops_wanted;
  }

  void end_step() override {
    Step* step = std::exchange(recording_, nullptr);
    if (step == nullptr) return;
    const bool failed = failure_.status != ESPALIER_OK;
    simt::Graph graph;
    attempt_always([&] { graph = simt::end_capture(stream_); });
    attempt([&] {
      if (failed) return;
      step->graph = std::move(graph);
      step->graph.launch(stream_);
      forget_oldest();
    });
  }

  void drop_steps(uint64_t owner) override {
    const auto first = steps_.lower_bound({owner, {}});
    const auto last = steps_.lower_bound({owner + 1, {}});
    if (first == last) return;
    attempt_always([&] { wait(); });  // a graph stays until its launches are done
    steps_.erase(first, last);
  }

  // ------------------------------------------------------------------------------------------------------- ops

  void embed(const EmbedArgs& args) override { run(cuda_embed, args); }
  void rms_norm(const RmsNormArgs& args) override { run(cuda_rms_norm, args); }
  void skinny_gemm(const SkinnyGemmArgs& args) override {
    run(
        [this](const auto& of, void* workspace, simt::Stream stream) {
          if (!cublaslt_.run(of, workspace, stream))
            cuda_skinny_gemm(of, workspace, turns_, stream);
        },
        [this](const auto& of) {
          return std::max(cuda_skinny_gemm_workspace(of), cublaslt_.workspace_bytes(of));
        },
        args);
  }
  void rope_and_append(const RopeAndAppendArgs& args) override { run(cuda_rope_and_append, args); }
  void tree_attention(const TreeAttentionArgs& args) override {
    run(cuda_tree_attention, tree_attention_workspace_bytes, args);
  }
  void top_k(const TopKArgs& args) override { run(cuda_top_k, top_k_workspace_bytes, args); }
  void sample(const SampleArgs& args) override { run(cuda_sample, sample_workspace_bytes, args); }
  void verify(const VerifyArgs& args) override { run(cuda_verify, args); }
  void verify_sampling(const VerifySamplingArgs& args) override {
    run(cuda_verify_sampling, verify_sampling_workspace_bytes, args);
  }
  void commit_kv(const CommitKvArgs& args) override { run(cuda_commit_kv, args); }
  void recycle_fill(const RecycleFillArgs& args) override { run(cuda_recycle_fill, args); }
  void recycle_update(const RecycleUpdateArgs& args) override { run(cuda_recycle_update, args); }

  bool begin_planning() override {
    planning_ = true;
    planned_bytes_ = 0;
    return true;
  }
  void end_planning() override {
    planning_ = false;
    attempt([&] { grow_workspace(planned_bytes_); });
  }

 private:
  struct Step {
    bool seen = false;  // ran once without a graph
    uint64_t used = 0;
    simt::Graph graph;
  };

  static simt::Stream open_stream(int device) {
    simt::use_device(device);
    return simt::create_stream();
  }

  /** Runs the body, unless something failed before, and keeps what it throws. */
  template <class Body>
  void attempt(Body&& body) {
    if (failure_.status == ESPALIER_OK) attempt_always(body);
  }

  template <class Body>
  void attempt_always(Body&& body) {
    try {
      simt::use_device(device_);
      body();
    } catch (const Unsupported& e) {
      keep(ESPALIER_UNSUPPORTED, e.what());
    } catch (const simt::OutOfMemory& e) {
      keep(ESPALIER_OUT_OF_MEMORY, e.what());
    } catch (const std::bad_alloc&) {
      keep(ESPALIER_OUT_OF_MEMORY, "out of host memory");
    } catch (const std::exception& e) {
      keep(ESPALIER_DEVICE_FAILURE, e.what());
    } catch (...) {
      keep(ESPALIER_INTERNAL, "unknown failure");
    }
  }

  void keep(espalier_status status, const char* text) {
    if (failure_.status != ESPALIER_OK) return;
    failure_.status = status;
    std::snprintf(failure_.text, sizeof failure_.text, "%s", text);
  }

  /** Packs a matrix on its way through the pinned memory, a few rows at a time. */
  void upload_packed(void* to, const char* rows, int64_t n, int64_t k) {
    constexpr auto kMost = static_cast<int64_t>(kPinnedBytes);
    const int64_t tile_bytes = packed_bytes(kTileRows, k);
    if (tile_bytes > kMost) {
      throw Unsupported(
          "weight with k = " + std::to_string(k) + ", expected at most " +
          std::to_string(kMost / kTileRows / 2));
    }
    // A quarter of the memory is packed while another one is on its way.
    const int64_t most = std::max<int64_t>(kMost / 4 / tile_bytes, 1) * kTileRows;
    for (int64_t done = 0; done < n;) {
      const int64_t num = std::min(n - done, most);
      const auto bytes = static_cast<size_t>(packed_bytes(num, k));
      char* pinned = pinned_.take(bytes);
      if (pinned == nullptr) {
        wait();
        continue;
      }
      pack(rows + done * k * 2, num, k, pinned);
      simt::copy(static_cast<char*>(to) + packed_bytes(done, k), pinned, bytes, stream_);
      done += num;
    }
  }

  void wait() {
    simt::wait(stream_);
    pinned_.reset();
  }

  /** Runs an op, or notes what it would need. */
  template <class Args>
  void run(void (*op)(const Args&, simt::Stream), const Args& args) {
    attempt([&] {
      if (!planning_) op(args, stream_);
    });
  }
  template <class Op, class WorkspaceBytes, class Args>
  void run(Op op, WorkspaceBytes workspace_bytes, const Args& args) {
    attempt([&] {
      const size_t bytes = workspace_bytes(args);
      if (planning_) {
        planned_bytes_ = std::max(planned_bytes_, bytes);
        return;
      }
      if (bytes > workspace_bytes_) grow_workspace(2 * bytes);  // only where nobody planned
      op(args, workspace_, stream_);
    });
  }

  /** Memory that ops work in, each in the same. Recorded steps hold its address, so they go when it grows. */
  void grow_workspace(size_t bytes) {
    if (bytes <= workspace_bytes_) return;
    if (recording_ != nullptr) throw std::logic_error("a recorded step needs more workspace");
    wait();
    steps_.clear();
    simt::release(std::exchange(workspace_, nullptr));
    workspace_bytes_ = 0;
    workspace_ = simt::allocate(bytes);
    workspace_bytes_ = bytes;
  }

  void forget_oldest() {
    if (steps_.size() <= kMostGraphs) return;
    wait();
    steps_.erase(std::min_element(steps_.begin(), steps_.end(), [](const auto& a, const auto& b) {
      return a.second.used < b.second.used;
    }));
  }

  int device_;
  simt::Stream stream_;
  CublasLtGemm cublaslt_;
  Pinned pinned_;
  Failure failure_;
  int32_t* turns_ = nullptr;
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0, planned_bytes_ = 0;
  bool planning_ = false;
  std::map<std::pair<uint64_t, std::vector<int32_t>>, Step> steps_;
  Step* recording_ = nullptr;
  uint64_t clock_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(
    int device, CUstream_st** stream, const CublasLtOptions& cublaslt) {
  auto backend = std::make_unique<CudaBackend>(device, cublaslt);
  if (stream != nullptr) *stream = backend->stream();
  return backend;
}

}  // namespace espalier
