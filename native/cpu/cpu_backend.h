// The CPU backend: every op of ops.h, one file each, named as the op.
#ifndef ESPALIER_CPU_CPU_BACKEND_H
#define ESPALIER_CPU_CPU_BACKEND_H

#include <memory>

#include "cpu/instructions.h"
#include "cpu/thread_pool.h"
#include "ops/ops.h"

namespace espalier {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int num_threads) : pool_(num_threads), path_(cpu_path()) {}

  int32_t kind() const override { return ESPALIER_CPU; }
  void* allocate(size_t bytes) override;
  void release(void* data) override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void synchronize() override {}
  Weight prepare_weight(const void* host, Type type, int64_t n, int64_t k) override;
  void release_weight(const Weight&) override {}

  void embed(const EmbedArgs& args) override;
  void rms_norm(const RmsNormArgs& args) override;
  void skinny_gemm(const SkinnyGemmArgs& args) override;
  void rope_and_append(const RopeAndAppendArgs& args) override;
  void tree_attention(const TreeAttentionArgs& args) override;
  void top_k(const TopKArgs& args) override;
  void sample(const SampleArgs& args) override;
  void verify(const VerifyArgs& args) override;
  void verify_sampling(const VerifySamplingArgs& args) override;
  void commit_kv(const CommitKvArgs& args) override;
  void recycle_fill(const RecycleFillArgs& args) override;
  void recycle_update(const RecycleUpdateArgs& args) override;

 private:
  ThreadPool pool_;
  Instructions path_;
};

/** num_threads counts the calling thread; 0 stands for one per core. */
std::unique_ptr<Backend> make_cpu_backend(int num_threads);

}  // namespace espalier

#endif
