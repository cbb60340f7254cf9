// The CPU backend with the steps of the CUDA backend: the second step of a shape is recorded, arguments and all, and each
// one behind is a replay of it. So a value that the session passes as an argument, or an address that moved, is a wrong result.
#ifndef ESPALIER_TESTS_SUPPORT_REPLAY_BACKEND_H
#define ESPALIER_TESTS_SUPPORT_REPLAY_BACKEND_H

#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "ops/ops.h"

namespace espalier_test {

class ReplayBackend final : public espalier::Backend {
 public:
  explicit ReplayBackend(std::unique_ptr<espalier::Backend> of) : of_(std::move(of)) {}

  static uint64_t& replays() {
    static uint64_t count = 0;
    return count;
  }

  int32_t kind() const override { return of_->kind(); }
  void* allocate(size_t bytes) override {
    need_no_recording();
    return of_->allocate(bytes);
  }
  void release(void* data) override { of_->release(data); }
  void upload(void* to, const void* from, size_t bytes) override {
    need_no_recording();
    of_->upload(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    need_no_recording();
    of_->download(to, from, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    run([=, this] { of_->copy(to, from, bytes); });
  }
  void synchronize() override { need_no_recording(); }
  espalier::Weight prepare_weight(
      const void* host, espalier::Type type, int64_t n, int64_t k) override {
    return of_->prepare_weight(host, type, n, k);
  }
  void release_weight(const espalier::Weight& weight) override { of_->release_weight(weight); }

  int32_t row_tile() const override { return 8; }

  bool begin_step(uint64_t owner, const std::vector<int32_t>& shape) override {
    need_no_recording();
    Step& step = steps_[{owner, shape}];
    if (step.recorded) {
      ++replays();
      for (const auto& op : step.ops) op();
      return false;
    }
    if (step.seen) recording_ = &step;
    step.seen = true;
    return true;
  }
  void end_step() override {
    Step* step = std::exchange(recording_, nullptr);
    if (step == nullptr) return;
    step->recorded = true;
    for (const auto& op : step->ops) op();
  }
  void drop_steps(uint64_t owner) override {
    steps_.erase(steps_.lower_bound({owner, {}}), steps_.lower_bound({owner + 1, {}}));
  }

  void embed(const espalier::EmbedArgs& args) override { op(&Backend::embed, args); }
  void rms_norm(const espalier::RmsNormArgs& args) override { op(&Backend::rms_norm, args); }
  void skinny_gemm(const espalier::SkinnyGemmArgs& args) override {
    op(&Backend::skinny_gemm, args);
  }
  void rope_and_append(const espalier::RopeAndAppendArgs& args) override {
    op(&Backend::rope_and_append, args);
  }
  void tree_attention(const espalier::TreeAttentionArgs& args) override {
    op(&Backend::tree_attention, args);
  }
  void top_k(const espalier::TopKArgs& args) override { op(&Backend::top_k, args); }
  void sample(const espalier::SampleArgs& args) override { op(&Backend::sample, args); }
  void verify(const espalier::VerifyArgs& args) override { op(&Backend::verify, args); }
  void verify_sampling(const espalier::VerifySamplingArgs& args) override {
    op(&Backend::verify_sampling, args);
  }
  void commit_kv(const espalier::CommitKvArgs& args) override { op(&Backend::commit_kv, args); }
  void recycle_fill(const espalier::RecycleFillArgs& args) override {
    op(&Backend::recycle_fill, args);
  }
  void recycle_update(const espalier::RecycleUpdateArgs& args) override {
    op(&Backend::recycle_update, args);
  }

 private:
  struct Step {
    bool seen = false, recorded = false;
    std::vector<std::function<void()>> ops;
  };

  void need_no_recording() const {
    if (recording_ != nullptr) throw std::logic_error("a call that no step may make");
  }
  void run(std::function<void()> work) {
    if (recording_ != nullptr) {
      recording_->ops.push_back(std::move(work));
    } else {
      work();
    }
  }
  template <class Args>
  void op(void (Backend::*of_backend)(const Args&), const Args& args) {
    run([=, this] { (of_.get()->*of_backend)(args); });
  }

  std::unique_ptr<espalier::Backend> of_;
  std::map<std::pair<uint64_t, std::vector<int32_t>>, Step> steps_;
  Step* recording_ = nullptr;
};

}  // namespace espalier_test

#endif
