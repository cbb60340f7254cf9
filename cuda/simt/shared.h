// Shared memory of a block. Its content is undefined until written.
#ifndef ESPALIER_SIMT_SHARED_H
#define ESPALIER_SIMT_SHARED_H

#include <type_traits>

#include "simt/target.h"

// SIMT_SHARED(float[8][32], tile): a shared object `tile`, aligned to 16 bytes, whose size is known at compile time.
#ifdef __CUDACC__
#define SIMT_SHARED(type, name) __shared__ alignas(16) std::type_identity_t<type> name
#else
#define SIMT_SHARED(type, name)                                                  \
  static const char name##_site = 0;                                             \
  auto& name = *static_cast<std::type_identity_t<type>*>(simt::emulated::shared( \
      &name##_site, #name, sizeof(std::type_identity_t<type>), 16,               \
      alignof(std::remove_all_extents_t<type>)))
#endif

namespace simt {

/** The shared memory whose size the launch gives, aligned to 128 bytes or, for boxes of a tensor, to 1024; one T in a kernel. */
template <class T, int kAlignment = 128>
SIMT_DEVICE T* dynamic_shared() {
  static_assert(kAlignment == 128 || kAlignment == 1024);
#ifdef __CUDACC__
  if constexpr (kAlignment == 128) {
    extern __shared__ __align__(128) unsigned char simt_dynamic_shared[];
    return reinterpret_cast<T*>(simt_dynamic_shared);
  } else {
    extern __shared__ __align__(1024) unsigned char simt_dynamic_shared_for_boxes[];
    return reinterpret_cast<T*>(simt_dynamic_shared_for_boxes);
  }
#else
  return static_cast<T*>(emulated::dynamic_shared(alignof(T), kAlignment));
#endif
}

}  // namespace simt

#endif
