// Where a thread is.
#ifndef ESPALIER_SIMT_INDEX_H
#define ESPALIER_SIMT_INDEX_H

#include "simt/target.h"

namespace simt {

#ifdef __CUDACC__
SIMT_DEVICE int thread() { return static_cast<int>(threadIdx.x); }      // index in the block
SIMT_DEVICE int num_threads() { return static_cast<int>(blockDim.x); }  // threads of a block
SIMT_DEVICE int block() { return static_cast<int>(blockIdx.x); }    // index in the grid, first axis
SIMT_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }  // second axis
SIMT_DEVICE int block_z() { return static_cast<int>(blockIdx.z); }  // third axis
SIMT_DEVICE int num_blocks() { return static_cast<int>(gridDim.x); }  // blocks along the first axis
SIMT_DEVICE int num_blocks_y() { return static_cast<int>(gridDim.y); }  // along the second axis
SIMT_DEVICE int num_blocks_z() { return static_cast<int>(gridDim.z); }  // along the third axis
#else
SIMT_DEVICE int thread() { return emulated::thread(); }
SIMT_DEVICE int num_threads() { return emulated::num_threads(); }
SIMT_DEVICE int block() { return emulated::block(0); }
SIMT_DEVICE int block_y() { return emulated::block(1); }
SIMT_DEVICE int block_z() { return emulated::block(2); }
SIMT_DEVICE int num_blocks() { return emulated::num_blocks(0); }
SIMT_DEVICE int num_blocks_y() { return emulated::num_blocks(1); }
SIMT_DEVICE int num_blocks_z() { return emulated::num_blocks(2); }
#endif

SIMT_DEVICE int lane() { return thread() % kWarp; }            // index in the warp
SIMT_DEVICE int warp() { return thread() / kWarp; }            // index of the warp in the block
SIMT_DEVICE int num_warps() { return num_threads() / kWarp; }  // warps of a block

}  // namespace simt

#endif
