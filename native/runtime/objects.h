// What stands behind the opaque handles. Handles share what they need, so the order in which they are destroyed is free.
#ifndef ESPALIER_RUNTIME_OBJECTS_H
#define ESPALIER_RUNTIME_OBJECTS_H

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "espalier.h"
#include "ops/ops.h"
#include "runtime/status.h"

namespace espalier {

/** A backend and the mark that a thread is inside it. */
struct Device {
  std::unique_ptr<Backend> backend;
  std::atomic<bool> in_use{false};
};

/** Throws what a backend of another library kept instead of throwing. */
inline void check(Backend& backend) {
  const Failure failure = backend.take_failure();
  if (failure.status != ESPALIER_OK) fail(failure.status, "%s", failure.text);
}

/** Claims a device for one call; a second thread meanwhile gets ESPALIER_INVALID_STATE. */
class Claim {
 public:
  explicit Claim(Device& device) : device_(device) {
    if (device_.in_use.exchange(true, std::memory_order_acquire)) {
      fail(
          ESPALIER_INVALID_STATE,
          "in use by another thread; one thread at a time may use a context and its sessions");
    }
  }
  ~Claim() { device_.in_use.store(false, std::memory_order_release); }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

 private:
  Device& device_;
};

/** Memory of the device, zeroed. */
inline void* allocate(Device& device, size_t bytes) {
  void* data = nullptr;
  try {
    data = device.backend->allocate(bytes);
  } catch (const std::bad_alloc&) {
    fail(
        ESPALIER_OUT_OF_MEMORY, "memory = %zu bytes, expected no more than the host has free",
        bytes);
  }
  check(*device.backend);
  return data;
}

/** Memory of a backend that frees itself. */
class Memory {
 public:
  Memory() = default;
  Memory(std::shared_ptr<Device> device, size_t bytes)
      : device_(std::move(device)), data_(allocate(*device_, bytes)) {}
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Memory() {
    if (data_ != nullptr) device_->backend->release(data_);
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  std::shared_ptr<Device> device_;
  void* data_ = nullptr;
};

/** Memory that grows to the largest size asked for, at least twofold; growing loses the content. */
class Scratch {
 public:
  template <class T>
  T* at_least(const std::shared_ptr<Device>& device, size_t count) {
    if (count * sizeof(T) > bytes_) {
      const size_t bytes = std::max(count * sizeof(T), 2 * bytes_);
      memory_ = Memory(device, bytes);
      bytes_ = bytes;
    }
    return memory_.as<T>();
  }

 private:
  Memory memory_;
  size_t bytes_ = 0;
};

/** Vectors that go to the device in one piece. Where a part lies follows from the sizes of the parts before it. */
class Parcel {
 public:
  /** Takes memory for parcels of that size. True when that is another than before: none of the old addresses holds. */
  bool reserve(const std::shared_ptr<Device>& device, size_t bytes) {
    const char* old = begin_;
    begin_ = memory_.at_least<char>(device, bytes);
    return begin_ != old;
  }
  void clear() { bytes_.clear(); }

  /** Adds a vector; its place is for at(). */
  template <class T>
  size_t put(const std::vector<T>& part) {
    const size_t place = (bytes_.size() + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.resize(place + part.size() * sizeof(T));
    if (!part.empty()) std::memcpy(bytes_.data() + place, part.data(), part.size() * sizeof(T));
    return place;
  }

  /** Uploads the parts. True when the parcel outgrew its memory, as reserve says. */
  bool send(const std::shared_ptr<Device>& device) {
    const bool moved = reserve(device, bytes_.size());
    device->backend->upload(begin_, bytes_.data(), bytes_.size());
    return moved;
  }

  template <class T>
  T* at(size_t place) const {
    return reinterpret_cast<T*>(begin_ + place);
  }

 private:
  static constexpr size_t kAlignment = 64;
  std::vector<char> bytes_;
  Scratch memory_;
  char* begin_ = nullptr;
};

/** Throws unless a handle or an out parameter is there. */
inline void need(const void* pointer, const char* name) {
  if (pointer == nullptr) fail(ESPALIER_INVALID_ARGUMENT, "%s = NULL, expected a pointer", name);
}

}  // namespace espalier

struct espalier_context {
  std::shared_ptr<espalier::Device> device;
};

struct espalier_buffer {
  std::shared_ptr<espalier::Device> device;
  void* data = nullptr;
  espalier::Type type = espalier::Type::kFp32;
  std::vector<int64_t> shape;
  bool owned = false;

  int64_t elements() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  int64_t bytes() const { return elements() * espalier::type_bytes(type); }
};

#endif
