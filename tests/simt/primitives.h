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

/** A tensor of 16-bit elements and its boxes, as simt::Tensor has them. */
struct BoxForm {
  int64_t len[3], stride_bytes[2];
  int box[3];
};
/** What a box of x is in shared memory: out [box[2], box[1], 64]; false on a card before sm_90. */
bool run_copy_box(const uint16_t* x, const BoxForm& form, int at_x, int y, int z, uint16_t* out);

/**
 * c [64, columns] = 16 columns of a [64, 64] from column k on, times those of b [columns, 64] or, turned, these rows of b [64, columns],
 * b and what is not turned as boxes; a turned product has a in registers. False on a card that is not of sm_90a.
 */
bool run_box_product(
    const uint16_t* a, const uint16_t* b, float* c, bool bf16, int columns, bool turned, int k);

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
