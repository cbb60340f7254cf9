// Copies that run beside the thread, and the barriers in shared memory that they report to. A copy is done only when
// somebody waits for it; until then its destination may not be touched.
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "simt/tensor_map.h"

namespace simt::emulated {
namespace {

void check_shared(const void* p, const char* primitive, Place place) {
  if (!is_shared(region_of(p))) {
    report(Defect::kBadArgument, place, "%s to memory that is not shared", primitive);
  }
}

void check_global(const void* p, const char* primitive, Place place) {
  if (is_shared(region_of(p)))
    report(Defect::kBadArgument, place, "%s from memory that is shared", primitive);
}

/** Reads the source and writes the destination in the name of `thread`. */
void finish_copy(Thread& thread, const Copy& copy) {
  lift_unfinished(copy.to, copy.bytes);
  Thread* running = std::exchange(current, &thread);
  check_access(thread, copy.to, copy.bytes, Access::kWrite, copy.place);
  current = running;
  if (copy.valid_bytes > 0) std::memcpy(copy.to, copy.from, copy.valid_bytes);
  std::memset(static_cast<char*>(copy.to) + copy.valid_bytes, 0, copy.bytes - copy.valid_bytes);
}

void start_copy(
    Thread& thread, void* to, const void* from, size_t bytes, size_t valid_bytes,
    const char* primitive, Place place) {
  check_shared(to, primitive, place);
  if (valid_bytes > 0) {
    check_global(from, primitive, place);
    check_access(thread, from, valid_bytes, Access::kRead, place);
  }
  mark_unfinished(thread, to, bytes, place);
}

}  // namespace

void copy_async(void* to, const void* from, size_t bytes, size_t valid_bytes) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("copy_async");
  check_alignment(to, bytes, place);
  check_alignment(from, bytes, place);
  start_copy(thread, to, from, bytes, valid_bytes, "copy_async", place);
  thread.copies.push_back({to, from, bytes, valid_bytes, place, thread.index, thread.group, false});
}

void commit_async() { ++current_thread("commit_async").group; }

void wait_async(int pending_groups) {
  Thread& thread = current_thread("wait_async");
  // Groups below thread.group are closed; the newest `pending_groups` of them may go on.
  const int limit = thread.group - pending_groups;
  auto first_left = std::find_if(thread.copies.begin(), thread.copies.end(), [&](const Copy& copy) {
    return copy.group >= limit;
  });
  for (auto copy = thread.copies.begin(); copy != first_left; ++copy) finish_copy(thread, *copy);
  thread.copies.erase(thread.copies.begin(), first_left);
}

// ------------------------------------------------------------------------------------------------- mbarriers

namespace {

MbarrierState& state_of(Thread& thread, const void* barrier, const char* primitive, Place place) {
  check_shared(barrier, primitive, place);
  const auto found = thread.block->mbarriers.find(barrier);
  if (found == thread.block->mbarriers.end()) {
    report(Defect::kUnwritten, place, "%s of an mbarrier without init", primitive);
  }
  // The object's own bytes: written by init, read by every use, so init needs a barrier behind it.
  check_access(thread, barrier, sizeof(uint64_t), Access::kAtomicRead, place);
  return found->second;
}

/** Ends the phase when all have arrived. Copies are done now, when somebody waits or the next phase is under way. */
void try_complete(Block& block, MbarrierState& state, bool wanted) {
  if (state.pending > 0) return;
  if (!state.copies.empty()) {
    if (!wanted && state.waiting.empty()) return;
    for (const Copy& copy : state.copies) {
      Thread& issuer = *block.threads[copy.thread];
      finish_copy(issuer, copy);
      if (copy.bulk) mark_bulk(copy.to, copy.bytes);
      state.expected_bytes -= static_cast<int64_t>(copy.bytes);
      release(issuer, state.seen);
    }
    state.copies.clear();
  }
  if (state.expected_bytes != 0) return;
  ++state.phase;
  state.pending = state.count;
  state.seen_previous = std::exchange(state.seen, Seen());
  note_progress();
  for (Thread* thread : std::exchange(state.waiting, {})) {
    acquire(*thread, state.seen_previous);
    make_ready(*thread);
  }
}

void arrive(Thread& thread, MbarrierState& state, uint32_t expected_bytes, Place place) {
  if (state.pending == 0) try_complete(*thread.block, state, true);
  if (state.pending == 0) {
    report(
        Defect::kBadArgument, place,
        "arrival at an mbarrier whose phase has all its %d arrivals and waits for %ld bytes",
        state.count, state.expected_bytes);
  }
  state.expected_bytes += expected_bytes;
  release(thread, state.seen);
  --state.pending;
  try_complete(*thread.block, state, false);
}

}  // namespace

void mbarrier_init(void* barrier, int count) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("mbarrier init");
  check_shared(barrier, "mbarrier init", place);
  check_alignment(barrier, sizeof(uint64_t), place);
  if (count < 1 || count >= 1 << 20)
    report(Defect::kBadArgument, place, "mbarrier count = %d, expected 1 to 2^20 - 1", count);
  check_access(thread, barrier, sizeof(uint64_t), Access::kWrite, place);
  std::memset(barrier, 0, sizeof(uint64_t));
  MbarrierState state{};
  state.count = state.pending = count;
  thread.block->mbarriers[barrier] = state;
}

void mbarrier_arrive(void* barrier, uint32_t expected_bytes) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("mbarrier arrive");
  arrive(thread, state_of(thread, barrier, "mbarrier arrive", place), expected_bytes, place);
}

/** The thread's copies so far become the barrier's, announced and brought with one arrival. */
void mbarrier_arrive_async(void* barrier) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("mbarrier arrive_async");
  MbarrierState& state = state_of(thread, barrier, "mbarrier arrive_async", place);
  uint32_t bytes = 0;
  if (state.pending == 0) try_complete(*thread.block, state, true);
  for (const Copy& copy : thread.copies) {
    bytes += static_cast<uint32_t>(copy.bytes);
    state.copies.push_back(copy);
  }
  thread.copies.clear();
  arrive(thread, state, bytes, place);
}

void copy_bulk(void* to, const void* from, size_t bytes, void* barrier) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("copy_bulk");
  MbarrierState& state = state_of(thread, barrier, "copy_bulk", place);
  check_alignment(to, 16, place);
  check_alignment(from, 16, place);
  if (bytes == 0 || bytes % 16 != 0)
    report(Defect::kBadArgument, place, "copy_bulk bytes = %zu, expected a multiple of 16", bytes);
  start_copy(thread, to, from, bytes, bytes, "copy_bulk", place);
  state.copies.push_back({to, from, bytes, bytes, place, thread.index, 0, true});
  try_complete(*thread.block, state, false);
}

// ---------------------------------------------------------------------------------------------- boxes of tensors

namespace {

constexpr int kUnit = 16, kUnitElements = kUnit / 2;  // what a swizzle moves, in bytes

bool has_tensor_maps = true;

}  // namespace

void set_makes_tensor_maps(bool makes) { has_tensor_maps = makes; }
bool makes_tensor_maps() { return has_tensor_maps; }

void check_tensor(const Tensor& of) {
  check_alignment(of.first, kUnit, 0);
  for (int i = 0; i < 3; ++i) {
    if (of.len[i] < 1 || of.len[i] > int64_t{1} << 32)
      report(Defect::kBadArgument, 0, "tensor len[%d] = %ld, expected 1 to 2^32", i, of.len[i]);
    const int least = i == 0 ? kBoxColumns : 1, most = i == 0 ? kBoxColumns : 256;
    if (of.box[i] < least || of.box[i] > most) {
      report(
          Defect::kBadArgument, 0, "tensor box[%d] = %d, expected %d to %d", i, of.box[i], least,
          most);
    }
  }
  for (int i = 0; i < 2; ++i) {
    if (of.stride_bytes[i] < 0 || of.stride_bytes[i] % kUnit != 0 ||
        of.stride_bytes[i] >= int64_t{1} << 40) {
      report(
          Defect::kBadArgument, 0,
          "tensor stride_bytes[%d] = %ld, expected a multiple of %d below 2^40", i,
          of.stride_bytes[i], kUnit);
    }
  }
}

void copy_box(void* to, const Tensor& from, const BoxPlace& at, void* barrier) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("copy_box");
  MbarrierState& state = state_of(thread, barrier, "copy_box", place);
  check_shared(to, "copy_box", place);
  check_alignment(to, kBoxAlignment, place);
  if (at.x % kUnitElements != 0)
    report(Defect::kBadArgument, place, "copy_box x = %d, expected a multiple of 8", at.x);
  auto* row_to = static_cast<char*>(to);
  for (int row = 0; row < from.box[1] * from.box[2]; ++row, row_to += kBoxColumns * 2) {
    const int64_t y = at.y + row % from.box[1], z = at.z + row / from.box[1];
    const bool row_inside = y >= 0 && y < from.len[1] && z >= 0 && z < from.len[2];
    for (int unit = 0; unit < kBoxColumns / kUnitElements; ++unit) {
      const int64_t x = at.x + unit * kUnitElements;
      const int64_t inside =
          row_inside && x >= 0 ? std::clamp<int64_t>(from.len[0] - x, 0, kUnitElements) : 0;
      const char* unit_from = static_cast<const char*>(from.first);
      if (inside > 0) unit_from += x * 2 + y * from.stride_bytes[0] + z * from.stride_bytes[1];
      char* unit_to = row_to + (unit ^ row % 8) * kUnit;
      const auto valid_bytes = static_cast<size_t>(inside) * 2;
      start_copy(thread, unit_to, unit_from, kUnit, valid_bytes, "copy_box", place);
      state.copies.push_back(
          {unit_to, unit_from, kUnit, valid_bytes, place, thread.index, 0, true});
    }
  }
  try_complete(*thread.block, state, false);
}

void mbarrier_wait(void* barrier, int parity) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("mbarrier wait");
  MbarrierState& state = state_of(thread, barrier, "mbarrier wait", place);
  if (state.phase % 2 == parity % 2) try_complete(*thread.block, state, true);
  if (state.phase % 2 != parity % 2) return acquire(thread, state.seen_previous);
  state.waiting.push_back(&thread);
  wait_for("mbarrier wait", place);
}

}  // namespace simt::emulated
