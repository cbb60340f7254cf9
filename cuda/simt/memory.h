// Global loads and stores of 4, 8 or 16 bytes with a hint to the caches.
#ifndef ESPALIER_SIMT_MEMORY_H
#define ESPALIER_SIMT_MEMORY_H

#include <cstring>

#include "simt/target.h"

namespace simt {

#ifdef __CUDACC__

template <class T, class Word4, class Word2, class Word1>
SIMT_DEVICE T load_words(const T* p, Word4 word4, Word2 word2, Word1 word1) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  uint32_t r[sizeof(T) / 4];
  if constexpr (sizeof(T) == 16) {
    word4(r, p);
  } else if constexpr (sizeof(T) == 8) {
    word2(r, p);
  } else {
    word1(r, p);
  }
  T value;
  memcpy(&value, r, sizeof(T));
  return value;
}

#define SIMT_LOAD(op)                                                                 \
  load_words(                                                                         \
      p,                                                                              \
      [](uint32_t* r, const void* q) {                                                \
        asm volatile(op ".v4.u32 {%0, %1, %2, %3}, [%4];"                             \
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                 \
                     : "l"(q));                                                       \
      },                                                                              \
      [](uint32_t* r, const void* q) {                                                \
        asm volatile(op ".v2.u32 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "l"(q)); \
      },                                                                              \
      [](uint32_t* r, const void* q) {                                                \
        asm volatile(op ".u32 %0, [%1];" : "=r"(r[0]) : "l"(q));                      \
      })

/** Of memory that the kernel nowhere writes. */
template <class T>
SIMT_DEVICE T load_readonly(const T* p) {
  return SIMT_LOAD("ld.global.nc");
}

/** Of memory that is read once, such as weights: it takes no room in L1. Nowhere written by the kernel. */
template <class T>
SIMT_DEVICE T load_once(const T* p) {
  return SIMT_LOAD("ld.global.nc.L1::no_allocate");
}

#undef SIMT_LOAD

/** Of results that no other kernel reads soon. */
template <class T>
SIMT_DEVICE void store_once(T* p, const T& value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  uint32_t r[sizeof(T) / 4];
  memcpy(r, &value, sizeof(T));
  if constexpr (sizeof(T) == 16) {
    asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(r[0]), "r"(r[1]),
                 "r"(r[2]), "r"(r[3])
                 : "memory");
  } else if constexpr (sizeof(T) == 8) {
    asm volatile("st.global.cs.v2.u32 [%0], {%1, %2};" ::"l"(p), "r"(r[0]), "r"(r[1]) : "memory");
  } else {
    asm volatile("st.global.cs.u32 [%0], %1;" ::"l"(p), "r"(r[0]) : "memory");
  }
}

#else

template <class T>
SIMT_DEVICE T load_readonly(const T* p) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  emulated::check_load(p, sizeof(T));
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

template <class T>
SIMT_DEVICE T load_once(const T* p) {
  return load_readonly(p);
}

template <class T>
SIMT_DEVICE void store_once(T* p, const T& value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  emulated::check_store(p, sizeof(T));
  std::memcpy(p, &value, sizeof(T));
}

#endif

}  // namespace simt

#endif
