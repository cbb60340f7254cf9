// Kernels that call one primitive each, for the tests of their meaning.
#ifndef ESPALIER_TESTS_SIMT_PRIMITIVES_H
#define ESPALIER_TESTS_SIMT_PRIMITIVES_H

#include <cstdint>

/** c [16, 8] += a [16, 16] b [16, 8], fp32 rounded to the type first; through load_matrix when `matrices`. */
void run_mma(const float* a, const float* b, float* c, bool bf16, bool matrices);

/** How a warpgroup multiplies: columns 64 or 128; without add, c is not read; a in registers and b turned, or both in chunks. */
struct ProductForm {
  int columns;
  bool add, registers;
};
/** c [64, columns] += a [64, 16] b [columns, 16]^T by a warpgroup; false on a card that is not of sm_90a. */
bool run_product(const float* a, const float* b, float* c, bool bf16, const ProductForm& form);

/** Registers of load_matrix: element [4, 8, 8] u16, out [32, 4] u32. */
void run_load_matrix(const uint16_t* element, uint32_t* out, int num, bool transposed);

/** One warp; each row of out [8, 32] is one primitive of x [32], see primitives.cu. */
void run_warp(const int32_t* x, int32_t* out);

/** What the conversions make of x [n]: bf16 and fp16 bits, and back. */
void run_convert(
    const float* x, uint16_t* bf16, uint16_t* fp16, float* from_bf16, float* from_fp16, int n);

/** Atomics of `blocks` blocks of 64 threads on one counter each: out [6]. */
void run_atomics(int32_t* out, int blocks);

/** out [threads of all blocks]: the index that the thread computes of itself over a grid of three axes. */
void run_indices(int32_t* out, int x, int y, int z, int threads);

/** Copies x [n] to out through shared memory with copy_async, in tiles of 256 floats, two under way. */
void run_pipeline(const float* x, float* out, int n);

#endif
