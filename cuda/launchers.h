// The ops of the CUDA backend: each checks nothing, enqueues on the stream and returns. Pointers are the device's, but
// where ops.h says host.
#ifndef ESPALIER_CUDA_LAUNCHERS_H
#define ESPALIER_CUDA_LAUNCHERS_H

#include <stdexcept>

#include "ops/ops.h"
#include "simt/launch.h"

namespace espalier {

/** An op that has no kernel for its arguments. */
class Unsupported : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void cuda_embed(const EmbedArgs& args, simt::Stream stream);
void cuda_verify(const VerifyArgs& args, simt::Stream stream);
void cuda_commit_kv(const CommitKvArgs& args, simt::Stream stream);
void cuda_rms_norm(const RmsNormArgs& args, simt::Stream stream);
void cuda_rope_and_append(const RopeAndAppendArgs& args, simt::Stream stream);
void cuda_recycle_fill(const RecycleFillArgs& args, simt::Stream stream);
void cuda_recycle_update(const RecycleUpdateArgs& args, simt::Stream stream);

/** Workspace is top_k_workspace_bytes, aligned to 8 bytes. */
void cuda_top_k(const TopKArgs& args, void* workspace, simt::Stream stream);
size_t top_k_workspace_bytes(const TopKArgs& args);
/** Bytes that cuda_skinny_gemm needs, at a multiple of 16; 0 up to 16 rows. */
size_t cuda_skinny_gemm_workspace(const SkinnyGemmArgs& args);
/** turns: kNumTurns zeros for the kernel's own use, which are zeros again when it ends. */
void cuda_skinny_gemm(
    const SkinnyGemmArgs& args, void* workspace, int32_t* turns, simt::Stream stream);
constexpr int kNumTurns = 3;

/** Workspace is sample_workspace_bytes, aligned to 16 bytes. */
void cuda_sample(const SampleArgs& args, void* workspace, simt::Stream stream);
size_t sample_workspace_bytes(const SampleArgs& args);

/** Workspace is verify_sampling_workspace_bytes, aligned to 8 bytes. */
void cuda_verify_sampling(const VerifySamplingArgs& args, void* workspace, simt::Stream stream);
size_t verify_sampling_workspace_bytes(const VerifySamplingArgs& args);

/** Workspace is tree_attention_workspace_bytes, aligned to 16 bytes; head_dim is at most 256. */
void cuda_tree_attention(const TreeAttentionArgs& args, void* workspace, simt::Stream stream);

/** Follows from rows, num_q_heads, head_dim, max_pages, page_size and max_depth, and grows with each. */
size_t tree_attention_workspace_bytes(const TreeAttentionArgs& args);

}  // namespace espalier

#endif
