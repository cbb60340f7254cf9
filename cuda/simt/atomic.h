// Atomics and fences. There is no float atomic: its order, and so its bits, would change from run to run.
//
// One block tells another that its results are there: writes, fence(), atomic or store_flag. The other: atomic or
// load_flag, fence(), reads.
#ifndef ESPALIER_SIMT_ATOMIC_H
#define ESPALIER_SIMT_ATOMIC_H

#include "simt/target.h"

namespace simt {

#ifdef __CUDACC__

// Each returns the old value. T is int32_t or uint32_t.
template <class T>
SIMT_DEVICE T atomic_add(T* p, T value) {
  return atomicAdd(p, value);
}
template <class T>
SIMT_DEVICE T atomic_min(T* p, T value) {
  return atomicMin(p, value);
}
template <class T>
SIMT_DEVICE T atomic_max(T* p, T value) {
  return atomicMax(p, value);
}
template <class T>
SIMT_DEVICE T atomic_or(T* p, T value) {
  return atomicOr(p, value);
}
template <class T>
SIMT_DEVICE T atomic_exchange(T* p, T value) {
  return atomicExch(p, value);
}
template <class T>
SIMT_DEVICE T atomic_compare_exchange(T* p, T compare, T value) {
  return atomicCAS(p, compare, value);
}

/** Orders the thread's accesses before it and behind it for the whole device. */
SIMT_DEVICE void fence() { __threadfence(); }

/** A flag that another thread may be polling or writing. */
template <class T>
SIMT_DEVICE T load_flag(const T* p) {
  return *static_cast<const volatile T*>(p);
}
template <class T>
SIMT_DEVICE void store_flag(T* p, T value) {
  *static_cast<volatile T*>(p) = value;
}

#else

template <class T>
SIMT_DEVICE T run_atomic(T* p, emulated::Atomic op, T value, T compare = 0) {
  static_assert(sizeof(T) == 4);
  return static_cast<T>(
      emulated::atomic(p, 4, op, static_cast<uint32_t>(value), static_cast<uint32_t>(compare)));
}

template <class T>
SIMT_DEVICE T atomic_add(T* p, T value) {
  return run_atomic(p, emulated::Atomic::kAdd, value);
}
SIMT_DEVICE int32_t atomic_min(int32_t* p, int32_t value) {
  return run_atomic(p, emulated::Atomic::kMinSigned, value);
}
SIMT_DEVICE uint32_t atomic_min(uint32_t* p, uint32_t value) {
  return run_atomic(p, emulated::Atomic::kMin, value);
}
SIMT_DEVICE int32_t atomic_max(int32_t* p, int32_t value) {
  return run_atomic(p, emulated::Atomic::kMaxSigned, value);
}
SIMT_DEVICE uint32_t atomic_max(uint32_t* p, uint32_t value) {
  return run_atomic(p, emulated::Atomic::kMax, value);
}
template <class T>
SIMT_DEVICE T atomic_or(T* p, T value) {
  return run_atomic(p, emulated::Atomic::kOr, value);
}
template <class T>
SIMT_DEVICE T atomic_exchange(T* p, T value) {
  return run_atomic(p, emulated::Atomic::kExchange, value);
}
template <class T>
SIMT_DEVICE T atomic_compare_exchange(T* p, T compare, T value) {
  return run_atomic(p, emulated::Atomic::kCompareExchange, value, compare);
}

SIMT_DEVICE void fence() { emulated::fence(); }

template <class T>
SIMT_DEVICE T load_flag(const T* p) {
  return run_atomic(const_cast<T*>(p), emulated::Atomic::kLoad, T{0});
}
template <class T>
SIMT_DEVICE void store_flag(T* p, T value) {
  run_atomic(p, emulated::Atomic::kStore, value);
}

#endif

}  // namespace simt

#endif
