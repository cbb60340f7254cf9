// What a test of a kernel sees of the emulator: device memory, the order of lanes, and the report of a defect.
#ifndef ESPALIER_TESTS_SIMT_EMULATOR_H
#define ESPALIER_TESTS_SIMT_EMULATOR_H

// On a GPU the same test takes its memory from there, and there is no emulator.
#ifdef ESPALIER_ON_HARDWARE
#include "../gpu/hardware.h"
#else

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct CUstream_st;

namespace simt::emulated {

// Whether plain loads and stores of kernels are seen by the emulator. Under AddressSanitizer they are that tool's: it finds what is out of
// bounds, and races and reads of unwritten memory go unseen.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAccessesSeen = false;
#else
constexpr bool kAccessesSeen = true;
#endif

enum class Defect {
  kOutOfBounds,     // no buffer is there
  kMisaligned,      // an address that is no multiple of the access
  kReadOnly,        // a write to a buffer that the launch may only read
  kRace,            // two accesses, one of them a write, that nothing orders
  kUnwritten,       // a read of memory that nobody wrote
  kUnfinishedCopy,  // an access to the destination of a copy that nobody waited for
  kDivergence,      // threads of one barrier or one warp operation at different places
  kDeadlock,        // every thread waits
  kBeforePrevious,  // a global access that comes before wait_for_previous
  kBadArgument,     // a launch or a primitive called against its rule
};

const char* name_of(Defect defect);

/** A defect in a kernel: thrown by the launch. what() is `kernel, block b, thread t, file:line: what happened`. */
class Report : public std::runtime_error {
 public:
  Report(
      Defect defect, std::string kernel, int block, int thread, std::string place,
      const std::string& text);

  const Defect defect;
  const std::string kernel;  // as the launch names it
  const int block;           // linear index; -1 before the first block
  const int thread;          // -1 when no single thread is to blame
  const std::string place;   // file:line in the kernel, or empty
};

enum class Order { kForward, kReverse, kShuffled };

/** Which of the threads that can run does so next; holds for the launches that follow. Forward at first. */
void set_order(Order order, uint64_t seed = 0);

/** Whether all blocks of a launch run side by side, their threads in turns; at first one after the other. */
void set_blocks_together(bool together);

/**
 * Runs so many blocks of each launch alone, the last ones; 0 for all, as at first. For rows whose offsets lie behind many
 * blocks: nobody could wait for these.
 */
void set_last_blocks(int num);

/** Whether the driver is one that makes tensor maps, as at first. */
void set_makes_tensor_maps(bool makes);

/** Work so far: of the launches, and of the host on its streams. */
struct Counts {
  uint64_t launches, blocks, threads, switches, accesses;
  uint64_t allocations, releases, copies, waits, captures, graph_launches;
};
Counts counts();

/** Work of a library that is no kernel: it runs when its turn comes in the stream, or becomes part of what is captured. */
void run_in_stream(CUstream_st* stream, std::function<void()> work);

// Memory of the device. The addresses around a buffer belong to nobody, 8 GiB and more on each side.
struct Region;
Region* create_global(const char* name, size_t bytes, size_t granule, bool written, bool read_only);
void destroy_global(Region* region);
void* data_of(const Region* region);
bool written(const Region* region, size_t byte);

/** A buffer on the emulated device. Elements of an output that no kernel wrote hold 0xff in each byte: NaN, or -1. */
template <class T>
class Buffer {
 public:
  /** For reading and writing. */
  Buffer(const char* name, const std::vector<T>& values)
      : Buffer(name, values.size(), true, false, &values) {}

  /** For reading. */
  static Buffer input(const char* name, const std::vector<T>& values) {
    return Buffer(name, values.size(), true, true, &values);
  }

  /** For writing: a kernel that reads an element before one was written there is reported. */
  static Buffer output(const char* name, size_t num) {
    return Buffer(name, num, false, false, nullptr);
  }

  /** Zeros, taking memory only where touched: for offsets beyond 2^31. */
  static Buffer sparse(const char* name, size_t num, bool read_only = false) {
    return Buffer(name, num, true, read_only, nullptr);
  }

  Buffer(Buffer&& other) noexcept
      : region_(std::exchange(other.region_, nullptr)), num_(other.num_) {}
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() { destroy_global(region_); }

  T* data() const { return static_cast<T*>(data_of(region_)); }
  size_t size() const { return num_; }
  std::vector<T> values() const { return std::vector<T>(data(), data() + num_); }
  bool written(size_t i) const { return emulated::written(region_, i * sizeof(T)); }

 private:
  Buffer(const char* name, size_t num, bool written, bool read_only, const std::vector<T>* values)
      : region_(create_global(name, num * sizeof(T), alignof(T), written, read_only)), num_(num) {
    if (values != nullptr) std::copy(values->begin(), values->end(), data());
  }

  Region* region_;
  size_t num_;
};

}  // namespace simt::emulated

#endif  // ESPALIER_ON_HARDWARE

#endif
