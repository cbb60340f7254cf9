// Device memory, and the checks of every access to it.
//
// Each buffer and each shared array has a slot of address space of its own, so that an address tells its buffer at once
// and an index that is wrong by gigabytes still hits nothing. Kernels are compiled with -fsanitize=thread, whose calls
// for each load and store end here: no thread sanitizer is linked. A cell per granule keeps the last stamps.
#include <sys/mman.h>

#include <bit>
#include <cstring>
#include <new>

#include "fiber.h"
#include "machine.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace simt::emulated {

namespace {

constexpr Place kAtomicBit = 0x80000000u;      // in Stamp::place: left by an atomic
constexpr Place kUnfinishedBit = 0x40000000u;  // a copy will write here
constexpr Place kBulkBit = 0x20000000u;        // a bulk copy wrote
constexpr Place kPlaceBits = 0x1fffffffu;

struct Stamp {
  uint32_t epoch, clock;
  Place place;
  uint32_t who;  // block * 1024 + thread

  uint32_t block() const { return who / kMaxThreads; }
  int thread() const { return static_cast<int>(who % kMaxThreads); }
};

/** Last accesses: the write, and reads by different threads, of different warps where there were several. */
struct Cell {
  Stamp write;
  Stamp read[3];
};
static_assert(sizeof(Cell) == 64);

constexpr int kSlotBits = 35;
constexpr size_t kSlotBytes = size_t{1} << kSlotBits;
constexpr size_t kSlots = 512;
constexpr size_t kPage = 4096;

}  // namespace

struct Region {
  char* begin;
  size_t bytes;
  std::string name;
  bool alive;
  bool shared;
  bool read_only;
  bool written;          // by the host, from the first element to the last
  uint32_t first_epoch;  // stamps before are of an earlier use
  int block;             // of a shared array
  int granule_bits;
  size_t slot;
  size_t before;  // bytes of the first page in front of it
  Cell* cells;
  size_t mapped_cells;
};

namespace {

struct Arena {
  char* begin = nullptr;
  Region* slots[kSlots] = {};
  size_t next = 0;

  Arena() {
    void* p = mmap(
        nullptr, kSlots * kSlotBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
        0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    begin = static_cast<char*>(p);
  }

  bool contains(uintptr_t p) const {
    return p - reinterpret_cast<uintptr_t>(begin) < kSlots * kSlotBytes;
  }
  Region* at(uintptr_t p) const {
    return slots[(p - reinterpret_cast<uintptr_t>(begin)) >> kSlotBits];
  }
};

Arena& arena() {
  static Arena arena;
  return arena;
}

size_t page_multiple(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

/** The slot used longest ago, so that an address that outlives its buffer is recognised. */
size_t take_slot() {
  Arena& a = arena();
  for (size_t tried = 0; tried < kSlots; ++tried) {
    const size_t slot = a.next;
    a.next = (a.next + 1) % kSlots;
    if (a.slots[slot] == nullptr || !a.slots[slot]->alive) {
      delete a.slots[slot];
      a.slots[slot] = nullptr;
      return slot;
    }
  }
  throw std::bad_alloc();
}

Region* create_region(const char* name, size_t bytes, size_t granule, size_t before) {
  if (bytes > kSlotBytes / 2) throw std::bad_alloc();
  const size_t slot = take_slot();
  auto* region = new Region{};
  region->begin = arena().begin + slot * kSlotBytes + kSlotBytes / 4 + before;
  region->bytes = bytes;
  region->name = name;
  region->alive = true;
  region->granule_bits = granule >= 4 ? 2 : granule == 2 ? 1 : 0;
  region->slot = slot;
  region->before = before;
  const size_t mapped = page_multiple(before + bytes);
  if (mapped > 0 && mprotect(region->begin - before, mapped, PROT_READ | PROT_WRITE) != 0)
    throw std::bad_alloc();
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(region->begin - before, before);
  __asan_poison_memory_region(region->begin + bytes, mapped - before - bytes);
#endif
  region->mapped_cells = page_multiple(((bytes >> region->granule_bits) + 1) * sizeof(Cell));
  void* cells = mmap(
      nullptr, region->mapped_cells, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (cells == MAP_FAILED) throw std::bad_alloc();
  region->cells = static_cast<Cell*>(cells);
  arena().slots[slot] = region;
  return region;
}

void destroy_region(Region* region) {
  const size_t mapped = page_multiple(region->before + region->bytes);
  if (mapped > 0) {
#if defined(__SANITIZE_ADDRESS__)
    // The end of the last page, and copies into shared memory that nobody waited for. Not more: buffers may be huge.
    const size_t clean = region->shared ? 0 : region->bytes;
    __asan_unpoison_memory_region(region->begin - region->before + clean, mapped - clean);
#endif
    mmap(
        region->begin - region->before, mapped, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  }
  munmap(region->cells, region->mapped_cells);
  region->cells = nullptr;
  region->alive = false;
}

/** Adds what one knows of blocks to what another does; who knew more goes on knowing it. */
void hand_on(const Releases& from, Releases& to) {
  for (const auto& [block, release] : from) {
    const auto known = to.find(block);
    const bool newer = known != to.end() && (known->second.epoch > release.epoch ||
                                             (known->second.epoch == release.epoch &&
                                              known->second.thread == release.thread &&
                                              known->second.clock > release.clock));
    if (!newer) to[block] = release;
  }
}

bool ordered(const Stamp& stamp, const Thread& thread) {
  if (stamp.epoch <= machine.base_epoch) return true;
  const Block& block = *thread.block;
  if (stamp.block() == static_cast<uint32_t>(block.index)) {
    if (stamp.epoch < block.epoch || stamp.thread() == thread.index) return true;
    return thread.seen.epoch == block.epoch && stamp.clock <= thread.seen.clock[stamp.thread()];
  }
  const auto known = block.acquired.find(stamp.block());
  if (known == block.acquired.end()) return false;
  const Release& release = known->second;
  return stamp.epoch < release.epoch ||
         (stamp.epoch == release.epoch && stamp.thread() == release.thread &&
          stamp.clock <= release.clock);
}

[[noreturn]] void report_race(
    const Region& region, size_t byte, const Stamp& earlier, const char* earlier_access,
    const char* access, Place place) {
  const Thread& thread = *current;
  const std::string line = line_of(earlier.place & kPlaceBits);
  if (earlier.block() == static_cast<uint32_t>(thread.block->index)) {
    report(
        Defect::kRace, place,
        "%s byte %zu of `%s`, which thread %d %s at %s, with no barrier between", access, byte,
        region.name.c_str(), earlier.thread(), earlier_access, line.c_str());
  }
  report(
      Defect::kRace, place,
      "%s byte %zu of `%s`, which block %u thread %d %s at %s, with nothing to order the blocks",
      access, byte, region.name.c_str(), earlier.block(), earlier.thread(), earlier_access,
      line.c_str());
}

void check_cell(
    Thread& thread, const Region& region, Cell& cell, size_t byte, Access access, Place place) {
  const bool atomic = access == Access::kAtomicRead || access == Access::kAtomicWrite;
  const bool write = access == Access::kWrite || access == Access::kAtomicWrite;
  const char* const what = write ? "writes" : "reads";
  const bool stamped = cell.write.epoch >= region.first_epoch && cell.write.epoch != 0;
  if (stamped && (cell.write.place & kUnfinishedBit) != 0) {
    report(
        Defect::kUnfinishedCopy, place,
        "%s byte %zu of `%s`, where the copy that thread %d started at %s has not been waited for",
        what, byte, region.name.c_str(), cell.write.thread(),
        line_of(cell.write.place & kPlaceBits).c_str());
  }
  if (!stamped && !region.written && !write) {
    report(Defect::kUnwritten, place, "byte %zu of `%s`", byte, region.name.c_str());
  }
  if (stamped && !(atomic && (cell.write.place & kAtomicBit) != 0) &&
      !ordered(cell.write, thread)) {
    report_race(region, byte, cell.write, "wrote", what, place);
  }
  const Stamp now{
      thread.block->epoch, thread.clock, place | (atomic ? kAtomicBit : 0),
      static_cast<uint32_t>(thread.block->index * kMaxThreads + thread.index)};
  if (write) {
    for (const Stamp& read : cell.read) {
      if (read.epoch < region.first_epoch || read.epoch == 0) continue;
      if (atomic && (read.place & kAtomicBit) != 0) continue;
      if (!ordered(read, thread)) report_race(region, byte, read, "read", what, place);
    }
    cell.write = now;
    return;
  }
  if (cell.read[0].who != now.who) {
    if (cell.read[0].who / kLanes != now.who / kLanes)
      cell.read[1] = cell.read[0];
    else
      cell.read[2] = cell.read[0];
  }
  cell.read[0] = now;
}

void check_region(
    Thread& thread, Region* region, uintptr_t p, size_t bytes, Access access, Place place) {
  const bool write = access == Access::kWrite || access == Access::kAtomicWrite;
  const char* const what = write ? "writes" : "reads";
  if (region == nullptr) {
    report(Defect::kOutOfBounds, place, "%s %zu bytes far from every buffer", what, bytes);
  }
  const auto offset = static_cast<int64_t>(p - reinterpret_cast<uintptr_t>(region->begin));
  if (!region->alive) {
    report(
        Defect::kOutOfBounds, place, "%s %zu bytes at byte %ld of `%s`, which no longer exists",
        what, bytes, offset, region->name.c_str());
  }
  if (offset < 0 || offset + bytes > region->bytes) {
    report(
        Defect::kOutOfBounds, place, "%s %zu bytes at byte %ld of `%s`, which has %zu bytes", what,
        bytes, offset, region->name.c_str(), region->bytes);
  }
  if (region->shared && region->block != thread.block->index) {
    report(
        Defect::kOutOfBounds, place, "%s `%s` of block %d, which is not the thread's block", what,
        region->name.c_str(), region->block);
  }
  if (region->read_only) {
    if (write) report(Defect::kReadOnly, place, "byte %ld of `%s`", offset, region->name.c_str());
    return;
  }
  if (!region->shared) {
    if (machine.launch->overlap && !thread.previous_awaited) {
      report(
          Defect::kBeforePrevious, place, "%s byte %ld of `%s`", what, offset,
          region->name.c_str());
    }
    if (access == Access::kWrite) thread.fenced = false;
  }
  if constexpr (kAccessesSeen) {
    const size_t last = (offset + bytes - 1) >> region->granule_bits;
    for (size_t i = offset >> region->granule_bits; i <= last; ++i) {
      check_cell(thread, *region, region->cells[i], i << region->granule_bits, access, place);
    }
  }
}

void check_elsewhere(uintptr_t p, size_t bytes, bool write, Place place) {
  const auto params = reinterpret_cast<uintptr_t>(machine.launch->params);
  if (!write && p - params < machine.launch->params_bytes) return;
  if (!write && p >= image().begin && p < image().end) return;  // a constant
  report(
      Defect::kOutOfBounds, place, "%s %zu bytes at %p, which is no memory of the device",
      write ? "writes" : "reads", bytes, reinterpret_cast<void*>(p));
}

}  // namespace

// -------------------------------------------------------------------------------------------------- buffers

Region* create_global(
    const char* name, size_t bytes, size_t granule, bool written, bool read_only) {
  const Turn held(turn);
  Region* region = create_region(name, bytes, granule, 0);
  region->written = written;
  region->read_only = read_only;
  region->first_epoch = 1;
  if (!written) std::memset(region->begin, 0xff, bytes);
  return region;
}

void destroy_global(Region* region) {
  const Turn held(turn);
  if (region != nullptr) destroy_region(region);
}

void* data_of(const Region* region) { return region->begin; }

bool written(const Region* region, size_t byte) {
  return region->written || region->cells[byte >> region->granule_bits].write.epoch != 0;
}

Region* create_shared(
    const char* name, size_t bytes, size_t alignment, size_t granule, const Block& block) {
  if (alignment > kPage)
    report(
        Defect::kBadArgument, 0, "alignment of `%s` = %zu, expected at most a page", name,
        alignment);
  // Aligned to that and to no more.
  Region* region = create_region(name, bytes, granule, alignment % kPage);
  region->shared = true;
  region->block = block.index;
  region->first_epoch = block.first_epoch;
  std::memset(region->begin, 0xff, bytes);
  return region;
}

void destroy_shared(Region* region) { destroy_region(region); }

size_t bytes_of(const Region* region) { return region->bytes; }
bool alive(const Region* region) { return region != nullptr && region->alive; }

Region* region_of(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  return arena().contains(address) ? arena().at(address) : nullptr;
}

bool is_shared(const Region* region) { return region != nullptr && region->shared; }

// --------------------------------------------------------------------------------------------------- checks

void check_access(Thread& thread, const void* p, size_t bytes, Access access, Place place) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  if (address - reinterpret_cast<uintptr_t>(thread.stack) < kStackBytes) {
    return check_sums(
        thread, p, bytes, access == Access::kWrite || access == Access::kAtomicWrite, place);
  }
  ++machine.counts.accesses;
  if (arena().contains(address)) {
    check_region(thread, arena().at(address), address, bytes, access, place);
  } else {
    check_elsewhere(
        address, bytes, access == Access::kWrite || access == Access::kAtomicWrite, place);
  }
}

void check_alignment(const void* p, size_t bytes, Place place) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  if (address % bytes != 0) {
    report(
        Defect::kMisaligned, place,
        "%zu bytes at an address that is %zu more than a multiple of it", bytes,
        static_cast<size_t>(address % bytes));
  }
}

void mark_unfinished(Thread& thread, const void* p, size_t bytes, Place place) {
  check_access(thread, p, bytes, Access::kWrite, place);
  Region* region = arena().at(reinterpret_cast<uintptr_t>(p));
  const size_t offset = static_cast<const char*>(p) - region->begin;
  std::memset(region->begin + offset, 0xff, bytes);
#if defined(__SANITIZE_ADDRESS__)
  if (bytes % 8 == 0) __asan_poison_memory_region(p, bytes);
#endif
  const size_t last = (offset + bytes - 1) >> region->granule_bits;
  for (size_t i = offset >> region->granule_bits; i <= last; ++i)
    region->cells[i].write.place |= kUnfinishedBit;
}

void lift_unfinished(const void* p, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  if (bytes % 8 == 0) __asan_unpoison_memory_region(p, bytes);
#endif
  Region* region = arena().at(reinterpret_cast<uintptr_t>(p));
  const size_t offset = static_cast<const char*>(p) - region->begin;
  const size_t last = (offset + bytes - 1) >> region->granule_bits;
  for (size_t i = offset >> region->granule_bits; i <= last; ++i)
    region->cells[i].write.place &= ~kUnfinishedBit;
}

void mark_bulk(const void* p, size_t bytes) {
  Region* region = arena().at(reinterpret_cast<uintptr_t>(p));
  const size_t offset = static_cast<const char*>(p) - region->begin;
  const size_t last = (offset + bytes - 1) >> region->granule_bits;
  for (size_t i = offset >> region->granule_bits; i <= last; ++i)
    region->cells[i].write.place |= kBulkBit;
}

void publish_shared() {
  Thread& thread = current_thread("publish_shared");
  thread.published_epoch = thread.block->epoch;
  thread.published_clock = thread.clock++;
  thread.published = thread.seen;
}

void check_published(Thread& thread, const void* p, size_t bytes, Place place) {
  if constexpr (!kAccessesSeen) return;
  const Region* region = arena().at(reinterpret_cast<uintptr_t>(p));
  const size_t offset = static_cast<const char*>(p) - region->begin;
  const size_t last = (offset + bytes - 1) >> region->granule_bits;
  for (size_t i = offset >> region->granule_bits; i <= last; ++i) {
    const Stamp& write = region->cells[i].write;
    if ((write.place & kBulkBit) != 0) continue;
    const Thread& writer = *thread.block->threads[write.thread()];
    if (write.epoch < writer.published_epoch || write.epoch < thread.published_epoch) continue;
    if (write.epoch == writer.published_epoch && write.clock <= writer.published_clock) continue;
    if (write.epoch == thread.published_epoch && thread.published.epoch == write.epoch &&
        write.clock <= thread.published.clock[write.thread()]) {
      continue;
    }
    report(
        Defect::kRace, place,
        "product of byte %zu of `%s`, which thread %d wrote at %s, with no publish_shared between",
        i << region->granule_bits, region->name.c_str(), write.thread(),
        line_of(write.place & kPlaceBits).c_str());
  }
}

void check_load(const void* p, size_t bytes) {
  const Place place = SIMT_PLACE;
  check_alignment(p, bytes, place);
  check_access(current_thread("load"), p, bytes, Access::kRead, place);
}

void check_store(const void* p, size_t bytes) {
  const Place place = SIMT_PLACE;
  check_alignment(p, bytes, place);
  check_access(current_thread("store"), p, bytes, Access::kWrite, place);
}

// -------------------------------------------------------------------------------------------------- atomics

uint64_t atomic(void* p, size_t bytes, Atomic op, uint64_t value, uint64_t compare) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("atomic");
  check_alignment(p, bytes, place);
  uint32_t old = 0;
  if (op != Atomic::kStore) check_access(thread, p, bytes, Access::kAtomicRead, place);
  if (op != Atomic::kLoad) check_access(thread, p, bytes, Access::kAtomicWrite, place);
  std::memcpy(&old, p, bytes);
  const auto operand = static_cast<uint32_t>(value);
  const auto as_signed = [](uint32_t x) { return static_cast<int32_t>(x); };
  uint32_t now = old;
  switch (op) {
    case Atomic::kAdd:
      now = old + operand;
      break;
    case Atomic::kMin:
      now = std::min(old, operand);
      break;
    case Atomic::kMax:
      now = std::max(old, operand);
      break;
    case Atomic::kMinSigned:
      now = as_signed(old) < as_signed(operand) ? old : operand;
      break;
    case Atomic::kMaxSigned:
      now = as_signed(old) > as_signed(operand) ? old : operand;
      break;
    case Atomic::kAnd:
      now = old & operand;
      break;
    case Atomic::kOr:
      now = old | operand;
      break;
    case Atomic::kExchange:
    case Atomic::kStore:
      now = operand;
      break;
    case Atomic::kCompareExchange:
      now = old == static_cast<uint32_t>(compare) ? operand : old;
      break;
    case Atomic::kLoad:
      break;
  }
  if (op != Atomic::kLoad) std::memcpy(p, &now, bytes);
  if (now != old) note_progress();

  Releases& told = machine.atomics[p];
  if (op != Atomic::kStore) {
    hand_on(told, thread.heard);
  }
  if (op != Atomic::kLoad && thread.fenced) {
    hand_on(thread.block->acquired, told);
    told[thread.block->index] = {thread.block->epoch, thread.clock, thread.index};
    ++thread.clock;
  }
  if (op == Atomic::kLoad || (op == Atomic::kCompareExchange && now == old))
    poll("a load that others may change", place);
  return old;
}

void fence() {
  Thread& thread = current_thread("fence");
  thread.fenced = true;
  hand_on(thread.heard, thread.block->acquired);
  thread.heard.clear();
}

void wait_for_previous() { current_thread("wait_for_previous").previous_awaited = true; }

}  // namespace simt::emulated

// ------------------------------------------------------------------------- calls that the compiler inserts

#if !defined(__SANITIZE_ADDRESS__)

namespace {

using simt::emulated::Access;

inline void seen(const void* p, size_t bytes, Access access, const void* return_address) {
  if (simt::emulated::current == nullptr) return;  // the host's
  simt::emulated::check_access(
      *simt::emulated::current, p, bytes, access, simt::emulated::place_of(return_address));
}

/** What -fsanitize=undefined hands to its handlers first. */
struct SourceLocation {
  const char* file;
  uint32_t line, column;
};

[[noreturn]] void undefined(
    simt::emulated::Defect defect, const void* data, const char* text, const void* return_address) {
  const auto* location = static_cast<const SourceLocation*>(data);
  if (simt::emulated::current == nullptr) {
    std::fprintf(stderr, "%s:%u: %s\n", location->file, location->line, text);
    __builtin_trap();
  }
  simt::emulated::report(defect, simt::emulated::place_of(return_address), "%s", text);
}

}  // namespace

#define SIMT_SEEN(name, bytes, access) \
  extern "C" void name(void* p) { seen(p, bytes, Access::access, __builtin_return_address(0)); }
#define SIMT_UNDEFINED(name, defect, text)                                              \
  extern "C" [[noreturn]] void name(void* data, ...) {                                  \
    undefined(simt::emulated::Defect::defect, data, text, __builtin_return_address(0)); \
  }

extern "C" void __tsan_init() {}
SIMT_SEEN(__tsan_read1, 1, kRead)
SIMT_SEEN(__tsan_read2, 2, kRead)
SIMT_SEEN(__tsan_read4, 4, kRead)
SIMT_SEEN(__tsan_read8, 8, kRead)
SIMT_SEEN(__tsan_read16, 16, kRead)
SIMT_SEEN(__tsan_unaligned_read2, 2, kRead)
SIMT_SEEN(__tsan_unaligned_read4, 4, kRead)
SIMT_SEEN(__tsan_unaligned_read8, 8, kRead)
SIMT_SEEN(__tsan_unaligned_read16, 16, kRead)
SIMT_SEEN(__tsan_write1, 1, kWrite)
SIMT_SEEN(__tsan_write2, 2, kWrite)
SIMT_SEEN(__tsan_write4, 4, kWrite)
SIMT_SEEN(__tsan_write8, 8, kWrite)
SIMT_SEEN(__tsan_write16, 16, kWrite)
SIMT_SEEN(__tsan_unaligned_write2, 2, kWrite)
SIMT_SEEN(__tsan_unaligned_write4, 4, kWrite)
SIMT_SEEN(__tsan_unaligned_write8, 8, kWrite)
SIMT_SEEN(__tsan_unaligned_write16, 16, kWrite)
extern "C" void __tsan_read_range(void* p, size_t bytes) {
  seen(p, bytes, Access::kRead, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void* p, size_t bytes) {
  seen(p, bytes, Access::kWrite, __builtin_return_address(0));
}
extern "C" void __tsan_vptr_update(void*, void*) {}

SIMT_UNDEFINED(
    __ubsan_handle_type_mismatch_v1_abort, kMisaligned,
    "an object at an address that its type does not allow")
SIMT_UNDEFINED(
    __ubsan_handle_out_of_bounds_abort, kOutOfBounds, "an index behind the end of its array")
SIMT_UNDEFINED(
    __ubsan_handle_shift_out_of_bounds_abort, kBadArgument,
    "a shift by a negative number or too many bits")
SIMT_UNDEFINED(
    __ubsan_handle_divrem_overflow_abort, kBadArgument, "a division by zero, or one that overflows")
SIMT_UNDEFINED(__ubsan_handle_add_overflow_abort, kBadArgument, "a signed sum that overflows")
SIMT_UNDEFINED(
    __ubsan_handle_sub_overflow_abort, kBadArgument, "a signed difference that overflows")
SIMT_UNDEFINED(__ubsan_handle_mul_overflow_abort, kBadArgument, "a signed product that overflows")
SIMT_UNDEFINED(__ubsan_handle_negate_overflow_abort, kBadArgument, "a negation that overflows")

#endif
