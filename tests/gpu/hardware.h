// The emulator's face on a GPU: what a test of a kernel uses of tests/simt/emulator.h, so that the same test runs on the
// hardware. Device memory is managed memory, which the host sees too, and every launch is waited for (hardware.cpp).
#ifndef ESPALIER_TESTS_GPU_HARDWARE_H
#define ESPALIER_TESTS_GPU_HARDWARE_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "check.h"

namespace simt::emulated {

constexpr bool kAccessesSeen = false;  // compute-sanitizer sees them: tests/gpu/run --sanitize

// The hardware has an order of its own. Tests run once for each name all the same: results must not differ.
enum class Order { kForward, kReverse, kShuffled };
inline void set_order(Order, uint64_t = 0) {}
inline void set_blocks_together(bool) {}
inline void set_last_blocks(int) {}  // it runs all of them

struct Counts {
  uint64_t launches, blocks, threads, switches, accesses;
};
inline Counts counts() { return {}; }

/** Managed memory, each byte `fill`; null when the card has too little free. Throws what the device reports. */
void* allocate_managed(const char* name, size_t bytes, int fill);
void release_managed(void* data);
/** Waits for all work; why it failed, or null. */
const char* why_device_failed();

/** Waits for all work; a failure of it fails the test. */
inline void wait_for_device() {
  if (const char* why = why_device_failed()) {
    check::failed(__FILE__, __LINE__, "the device failed: %s", why);
  }
}

/** A buffer as in emulator.h. A read-only one is compared with what it held when it goes; 256 bytes on each side of a
 *  buffer must stay as they were. */
template <class T>
class Buffer {
 public:
  Buffer(const char* name, const std::vector<T>& values) : Buffer(name, values.size(), 0xff) {
    copy(values);
  }
  static Buffer input(const char* name, const std::vector<T>& values) {
    Buffer buffer(name, values);
    buffer.expected_ = values;
    return buffer;
  }
  static Buffer output(const char* name, size_t num) { return Buffer(name, num, 0xff); }
  static Buffer sparse(const char* name, size_t num, bool /*read_only*/ = false) {
    return Buffer(name, num, 0);
  }

  Buffer(Buffer&& other) noexcept
      : name_(other.name_),
        memory_(std::exchange(other.memory_, nullptr)),
        num_(other.num_),
        fill_(other.fill_),
        expected_(std::move(other.expected_)) {}
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() {
    if (memory_ == nullptr) return;
    wait_for_device();
    for (size_t i = 0; i < kAround; ++i) {
      if (memory_[i] != fill_ || memory_[kAround + num_ * sizeof(T) + i] != fill_) {
        check::failed(__FILE__, __LINE__, "write beside buffer %s", name_);
        break;
      }
    }
    if (!expected_.empty() &&
        std::memcmp(expected_.data(), memory_ + kAround, num_ * sizeof(T)) != 0) {
      check::failed(__FILE__, __LINE__, "write to input %s", name_);
    }
    release_managed(memory_);
  }

  T* data() const { return reinterpret_cast<T*>(memory_ + kAround); }
  size_t size() const { return num_; }
  std::vector<T> values() const {
    wait_for_device();
    return std::vector<T>(data(), data() + num_);
  }
  /** Whether element i differs from what an output holds at first. */
  bool written(size_t i) const {
    wait_for_device();
    unsigned char untouched[sizeof(T)];
    std::memset(untouched, 0xff, sizeof(T));
    return std::memcmp(data() + i, untouched, sizeof(T)) != 0;
  }

 private:
  static constexpr size_t kAround = 256;

  Buffer(const char* name, size_t num, unsigned char fill)
      : name_(name),
        memory_(
            static_cast<unsigned char*>(
                allocate_managed(name, num * sizeof(T) + 2 * kAround, fill))),
        num_(num),
        fill_(fill) {
    if (memory_ != nullptr) return;
    std::printf(
        "  left out: buffer %s of %zu bytes does not fit on this card\n", name, num * sizeof(T));
    throw check::EndOfTest();
  }

  void copy(const std::vector<T>& values) {
    if (num_ > 0) std::memcpy(memory_ + kAround, values.data(), num_ * sizeof(T));
  }

  const char* name_;
  unsigned char* memory_;
  size_t num_;
  unsigned char fill_;
  std::vector<T> expected_;
};

}  // namespace simt::emulated

#endif
