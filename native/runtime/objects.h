// What stands behind the opaque handles. Handles share what they need, so the order in which they are destroyed is free.
#ifndef ESPALIER_RUNTIME_OBJECTS_H
#define ESPALIER_RUNTIME_OBJECTS_H

#include <atomic>
#include <cstdint>
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

/** Memory of a backend that frees itself. */
class Memory {
 public:
  Memory() = default;
  Memory(std::shared_ptr<Device> device, size_t bytes)
      : device_(std::move(device)), data_(device_->backend->allocate(bytes)) {}
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

/** Memory that grows to the largest size asked for; growing loses the content. */
class Scratch {
 public:
  template <class T>
  T* at_least(const std::shared_ptr<Device>& device, size_t count) {
    if (count * sizeof(T) > bytes_) {
      memory_ = Memory(device, count * sizeof(T));
      bytes_ = count * sizeof(T);
    }
    return memory_.as<T>();
  }

 private:
  Memory memory_;
  size_t bytes_ = 0;
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
