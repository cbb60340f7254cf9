// The emulated machine: threads as fibers, their blocks, and who may run. Internal to the emulator.
//
// What comes before what. Every access leaves a stamp: the epoch of the block (a count of its block barriers, no two
// blocks share a number), the thread, and the thread's clock in that epoch. sync_warp, named barriers and mbarriers
// hand on what a thread has seen of the others' clocks (a vector clock); a block barrier opens a new epoch, behind which all older
// stamps of the block lie. Other blocks are behind a stamp after sync_grid, or after fence - atomic - atomic - fence.
#ifndef ESPALIER_TESTS_SIMT_MACHINE_H
#define ESPALIER_TESTS_SIMT_MACHINE_H

#include <array>
#include <bit>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "emulator.h"
#include "simt/emulated.h"

namespace simt::emulated {

constexpr int kLanes = 32;
constexpr int kWarpgroup = 128;
constexpr int kMaxThreads = 1024;
constexpr int kNamedBarriers = 16;
constexpr int64_t kMaxBlocks = 1 << 22;  // what a stamp can tell apart

struct Block;
struct Region;

/** Code address of the caller of an emulator function, as an offset in the executable. */
using Place = uint32_t;
Place place_of(const void* return_address);
/** The program or library that kernels are in. */
struct Image {
  uintptr_t base, begin, end;
  std::string path;
};
const Image& image();
#define SIMT_PLACE place_of(__builtin_return_address(0))
/** file:line of the outermost kernel code there: inlined primitives are skipped. */
const std::string& line_of(Place place);

/** What a barrier hands on: the clock of each thread of the block up to which its accesses are visible. */
struct Seen {
  uint32_t epoch = 0;  // of the block; older clocks say nothing
  std::vector<uint32_t> clock;
  int warp = 0;         // whose lanes are in `clock`, the first of them when there are others
  bool others = false;  // lanes of several warps are
};

struct Release {
  uint32_t epoch, clock;
  int thread;
};
/** What a block knows of others, or an atomic's address has been told: by block. */
using Releases = std::unordered_map<uint32_t, Release>;

struct Copy {
  void* to;
  const void* from;
  size_t bytes, valid_bytes;
  Place place;
  int thread;
  int group;
  bool bulk;
};

/** A product of a warpgroup, as one of its threads sees it. */
struct Product {
  Sums sums;
  bool of_registers;  // a is in `rows`; the chunks of b are turned
  Operand a, b;
  Place place;
  int group;
  std::array<uint32_t, 16> quad;  // a's registers of four lanes, which have its two rows
};

struct Thread {
  enum State { kReady, kPolling, kWaiting, kDone };

  Block* block;
  int index;
  State state;
  void* stack_pointer;
  char* stack;
  void* asan_stack;

  const char* waiting_for;               // the primitive
  Place place;                           // where it was called
  std::array<unsigned char, 64> result;  // of a warp operation

  uint32_t clock;
  Seen seen;

  std::vector<Copy> copies;       // started with copy_async, not yet done
  int group;                      // number of the group being filled
  std::vector<Product> products;  // not yet done
  int product_group;
  size_t num_products;
  bool products_begun;                                // since the last wait
  uint32_t published_epoch = 0, published_clock = 0;  // writes up to here are published
  Seen published;                                     // and those of others that this thread saw
  bool fenced;                                        // no global write since the last fence
  Releases heard;                                     // by atomics, to hold from the next fence on
  bool previous_awaited;

  int lane() const { return index % kLanes; }
  int warp() const { return index / kLanes; }
};

/** Lanes on their way through one warp operation. */
struct Rendezvous {
  uint32_t kind, mask, arrived;
  Place place;
  std::array<std::array<unsigned char, 64>, kLanes> operand;
};

struct NamedBarrier {
  int needed = 0;
  std::vector<Thread*> arrived, waiting;
  Seen seen;
};

struct MbarrierState {
  int count, pending;
  int64_t expected_bytes = 0;
  int phase = 0;
  Seen seen;           // what those who arrived in this phase hand on
  Seen seen_previous;  // what those of the last complete phase handed on
  std::vector<Copy> copies;
  std::vector<Thread*> waiting;
};

struct Block {
  int index;
  uint32_t epoch;
  uint32_t first_epoch;
  int num_done = 0, num_at_barrier = 0;
  bool at_grid_barrier = false;
  uint32_t warps_ready = 0;
  std::array<uint32_t, kMaxThreads / kLanes> ready = {};
  std::vector<std::unique_ptr<Thread>> threads;
  std::array<std::vector<Rendezvous>, kMaxThreads / kLanes> rendezvous;
  std::array<NamedBarrier, kNamedBarriers> named;
  std::map<const void*, MbarrierState> mbarriers;
  std::array<std::vector<Product>, kMaxThreads / kWarpgroup>
      products;  // of each warpgroup, as its first thread called them
  std::unordered_map<const void*, Region*> shared;  // by site
  Releases acquired;
};

struct Machine {
  const LaunchCall* launch = nullptr;
  int num_blocks = 0;
  std::vector<std::unique_ptr<Block>> blocks;  // those alive
  int num_at_grid_barrier = 0;
  uint32_t base_epoch = 0;  // stamps up to this one come before everything now running
  uint32_t last_epoch = 0;
  std::unordered_map<const void*, Releases> atomics;
  std::vector<Region*> shared;  // of the blocks alive
  uint64_t polls = 0;           // since something last changed

  Order order = Order::kForward;
  std::mt19937_64 random;
  Counts counts = {};
  std::set<std::string> kernels;  // that were launched, by their names

  ~Machine();  // tells the counts

  void* stack_pointer = nullptr;  // of the host, while a fiber runs
  void* asan_stack = nullptr;
  const void* host_stack = nullptr;
  size_t host_stack_bytes = 0;
  std::unique_ptr<Report> report;
};

extern Machine machine;

/**
 * Threads of the host take turns on the device: whoever uses the machine, its memory or a stream holds this, and a wait for a
 * stream holds it until all of the stream's work is done.
 */
extern std::recursive_mutex turn;
using Turn = std::lock_guard<std::recursive_mutex>;

/**
 * The kernel's thread that this thread of the host is running, or null. Code of other threads of the host may be watched, too,
 * for it is in the same files: it is none of the kernel's.
 */
extern constinit thread_local Thread* current __attribute__((tls_model("initial-exec")));

/** An element of a matrix operand. */
inline float value_of(uint16_t bits, bool bf16) {
  if (bf16) return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  return static_cast<float>(std::bit_cast<_Float16>(bits));
}

/** Ends the launch with a report. On a fiber it does not return: the host throws. */
[[noreturn]] void report(Defect defect, Place place, const char* format, ...)
    __attribute__((format(printf, 3, 4)));
[[noreturn]] void report_of(
    const Thread* thread, int block, Defect defect, Place place, const char* format, ...)
    __attribute__((format(printf, 5, 6)));

Thread& current_thread(const char* primitive);

/** Stops the calling thread until make_ready. */
void wait_for(const char* primitive, Place place);
void make_ready(Thread& thread);
/** Lets others run; the calling thread goes on when no other can. */
void poll(const char* primitive, Place place);
/** Something changed that a polling thread may look for. */
void note_progress();

uint32_t new_epoch();

/** All lanes: the four registers of each of the lane's four neighbours, itself among them. */
std::array<uint32_t, 16> registers_of_quad(const uint32_t* registers, Place place);

void run_launch(const LaunchCall& call);

// Vector clocks. A release hands on what the thread did so far; an acquire makes it visible to the thread.
void release(Thread& thread, Seen& to);
void acquire(Thread& thread, const Seen& from);

// Memory.
enum class Access { kRead, kWrite, kAtomicRead, kAtomicWrite };
void check_access(Thread& thread, const void* p, size_t bytes, Access access, Place place);
void check_alignment(const void* p, size_t bytes, Place place);
/** Marks the destination of a copy: an access before the mark is lifted is reported. */
void mark_unfinished(Thread& thread, const void* p, size_t bytes, Place place);
void lift_unfinished(const void* p, size_t bytes);
/** The last writes there are a bulk copy's. */
void mark_bulk(const void* p, size_t bytes);
/** A product reads there: what plain stores or copy_async wrote needs publish_shared. */
void check_published(Thread& thread, const void* p, size_t bytes, Place place);
/** An access to the thread's own stack: sums of products under way are reported. */
void check_sums(Thread& thread, const void* p, size_t bytes, bool write, Place place);
Region* region_of(const void* p);
size_t bytes_of(const Region* region);
bool alive(const Region* region);
bool is_shared(const Region* region);

Region* create_shared(
    const char* name, size_t bytes, size_t alignment, size_t granule, const Block& block);
void destroy_shared(Region* region);

}  // namespace simt::emulated

#endif
