// What the emulator in tests/simt provides to the primitives under g++. No kernel calls these.
#ifndef ESPALIER_SIMT_EMULATED_H
#define ESPALIER_SIMT_EMULATED_H

#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace simt {
struct Tensor;
}

namespace simt::emulated {

// The calling thread.
int thread();
int num_threads();
int block(int axis);
int num_blocks(int axis);

// Shared memory: one exact array per site and block, aligned; nothing is written there at first. `granule` is the
// smallest access that is told apart from its neighbours.
void* shared(const void* site, const char* name, size_t bytes, size_t alignment, size_t granule);
void* dynamic_shared(size_t granule, size_t alignment);

void sync_block();
void sync_warp(uint32_t mask);
void sync_named(int id, int num_threads);
void arrive_named(int id, int num_threads);
void sync_grid();

enum class Reduce { kAdd, kMin, kMax, kAnd, kOr, kXor };

uint32_t ballot(uint32_t mask, bool vote);
uint64_t shuffle(uint32_t mask, uint64_t value, int from_lane);
uint32_t match(uint32_t mask, uint64_t value);
uint32_t reduce_unsigned(uint32_t mask, uint32_t value, Reduce op);
int32_t reduce_signed(uint32_t mask, int32_t value, Reduce op);

void load_matrix(uint32_t* r, const void* row, int num, bool transposed);
void mma_bf16(float* d, const uint32_t* a, const uint32_t* b);
void mma_fp16(float* d, const uint32_t* a, const uint32_t* b);

/** An operand of a warpgroup's product: see simt/wgmma.h. */
struct Operand {
  enum Form { kChunks, kSwizzledRows, kSwizzledColumns } form;
  const void* first;
  int bytes_along_k, bytes_along_rows;
};
/** The sums of one. */
struct Sums {
  float* c;
  int columns;
  bool add, bf16;
};
void publish_shared();
void begin_products();
void product(const Sums& sums, const Operand& a, const Operand& b);
/** a: a fragment's registers; b's chunks are turned. */
void product(const Sums& sums, const uint32_t* a, const Operand& b);
void commit_products();
void wait_products(int pending_groups);

/** Checks an access of the size and alignment of a vector; the copy itself is the caller's. */
void check_load(const void* p, size_t bytes);
void check_store(const void* p, size_t bytes);

void copy_async(void* to, const void* from, size_t bytes, size_t valid_bytes);
void commit_async();
void wait_async(int pending_groups);

void mbarrier_init(void* barrier, int count);
void mbarrier_arrive(void* barrier, uint32_t expected_bytes);
void mbarrier_arrive_async(void* barrier);
void mbarrier_wait(void* barrier, int parity);
void copy_bulk(void* to, const void* from, size_t bytes, void* barrier);

// Copies of boxes: see simt/tensor_map.h.
struct BoxPlace {
  int x, y, z;
};
bool makes_tensor_maps();
void check_tensor(const Tensor& tensor);
void copy_box(void* to, const Tensor& from, const BoxPlace& at, void* barrier);

enum class Atomic {
  kAdd,
  kMin,
  kMax,
  kMinSigned,
  kMaxSigned,
  kAnd,
  kOr,
  kExchange,
  kCompareExchange,
  kLoad,
  kStore
};

uint64_t atomic(void* p, size_t bytes, Atomic op, uint64_t value, uint64_t compare);
void fence();

void wait_for_previous();

/** A launch as the emulator takes it: `call` runs the kernel with the parameters at [params, params + bytes). */
struct LaunchCall {
  const char* kernel;
  int grid[3];
  int threads;
  size_t shared_bytes;
  bool cooperative, overlap;
  void (*call)(const void* params);
  const void* params;
  size_t params_bytes;
};

/** Runs the launch, or puts it into the stream. */
void launch(const LaunchCall& call, CUstream_st* stream);

// What is behind simt/runtime.h. A stream runs nothing until it is waited for.
void* allocate(size_t bytes, bool read_only);
void release(void* memory);
CUstream_st* create_stream();
void destroy_stream(CUstream_st* stream);
void wait(CUstream_st* stream);
void fill_zero(void* to, size_t bytes, CUstream_st* stream);
void copy(void* to, const void* from, size_t bytes, CUstream_st* stream);
void copy_on_device(void* to, const void* from, size_t bytes, CUstream_st* stream);
void begin_capture(CUstream_st* stream);
void* end_capture(CUstream_st* stream);
void launch_graph(const void* graph, CUstream_st* stream);
void destroy_graph(void* graph);

}  // namespace simt::emulated

#endif
