// Barriers, warp operations and matrix products. The last thread to arrive does the work for all.
#include <bit>
#include <cmath>
#include <cstring>

#include "machine.h"

namespace simt::emulated {
namespace {

enum Kind : uint32_t {
  kSyncWarp,
  kBallot,
  kShuffle,
  kMatch,
  kReduce,
  kLoadMatrix,
  kMmaBf16,
  kMmaFp16,
  kQuad
};
constexpr uint32_t kKindBits = 8;  // above: what all lanes must agree on, too

const char* name_of_kind(uint32_t kind) {
  static const char* const names[] = {"sync_warp",   "ballot",         "shuffle",
                                      "match",       "warp reduction", "load_matrix",
                                      "mma_16x8x16", "mma_16x8x16",    "warpgroup_product"};
  return names[kind % (1 << kKindBits)];
}

// ----------------------------------------------------------------------------------------------- operations

struct ShuffleOperand {
  uint64_t value;
  int32_t from;
};

struct MatrixRow {
  const void* row;
};

struct Registers {
  uint32_t r[4];
};

struct MmaOperand {
  uint32_t a[4], b[2];
  float c[4];
};

template <class T>
const T& operand_of(const Rendezvous& r, int lane) {
  return *reinterpret_cast<const T*>(r.operand[lane].data());
}

template <class T>
void give(Block& block, int warp, int lane, const T& value) {
  static_assert(sizeof(T) <= 64);
  std::memcpy(block.threads[warp * kLanes + lane]->result.data(), &value, sizeof(T));
}

template <class F>
void for_each_lane(uint32_t mask, F&& f) {
  for (; mask != 0; mask &= mask - 1) f(std::countr_zero(mask));
}

uint32_t reduce(const Rendezvous& r, Reduce op, bool is_signed) {
  bool first = true;
  uint32_t result = 0;
  for_each_lane(r.mask, [&](int lane) {
    const auto x = operand_of<uint32_t>(r, lane);
    const bool less =
        is_signed ? static_cast<int32_t>(x) < static_cast<int32_t>(result) : x < result;
    if (first) {
      result = x;
    } else if (op == Reduce::kAdd) {
      result += x;
    } else if (op == Reduce::kMin) {
      result = less ? x : result;
    } else if (op == Reduce::kMax) {
      result = less ? result : x;
    } else if (op == Reduce::kAnd) {
      result &= x;
    } else if (op == Reduce::kOr) {
      result |= x;
    } else {
      result ^= x;
    }
    first = false;
  });
  return result;
}

void shuffle_lanes(Block& block, int warp, const Rendezvous& r) {
  for_each_lane(r.mask, [&](int lane) {
    const int from = operand_of<ShuffleOperand>(r, lane).from;
    if (from < 0 || from >= kLanes || (r.mask >> from & 1) == 0) {
      report_of(
          block.threads[warp * kLanes + lane].get(), block.index, Defect::kBadArgument, r.place,
          "shuffle from lane %d, expected one of the mask 0x%08x", from, r.mask);
    }
    give(block, warp, lane, operand_of<ShuffleOperand>(r, from).value);
  });
}

void match_lanes(Block& block, int warp, const Rendezvous& r) {
  for_each_lane(r.mask, [&](int lane) {
    uint32_t same = 0;
    for_each_lane(r.mask, [&](int other) {
      if (operand_of<uint64_t>(r, other) == operand_of<uint64_t>(r, lane)) same |= 1u << other;
    });
    give(block, warp, lane, same);
  });
}

/** Every lane whose address counts reads its row; the elements go where the layout says. */
void load_matrices(Block& block, int warp, const Rendezvous& r, int num, bool transposed) {
  uint16_t element[4][8][8];
  for (int i = 0; i < 8 * num; ++i) {
    Thread& thread = *block.threads[warp * kLanes + i];
    const void* row = operand_of<MatrixRow>(r, i).row;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
      report_of(
          &thread, block.index, Defect::kMisaligned, r.place,
          "load_matrix from an address that is no multiple of 16 bytes");
    }
    if (!is_shared(region_of(row))) {
      report_of(
          &thread, block.index, Defect::kBadArgument, r.place,
          "load_matrix from memory that is not shared");
    }
    Thread* running = std::exchange(current, &thread);
    check_access(thread, row, 16, Access::kRead, r.place);
    current = running;
    std::memcpy(element[i / 8][i % 8], row, 16);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    uint32_t registers[4] = {};
    for (int m = 0; m < num; ++m) {
      const uint16_t low = transposed ? element[m][2 * t][g] : element[m][g][2 * t];
      const uint16_t high = transposed ? element[m][2 * t + 1][g] : element[m][g][2 * t + 1];
      registers[m] = low | static_cast<uint32_t>(high) << 16;
    }
    give(block, warp, lane, registers);
  }
}

/** c += a b: the products are exact in fp32, and are added one by one, k ascending. */
void multiply(Block& block, int warp, const Rendezvous& r, bool bf16) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& in = operand_of<MmaOperand>(r, lane);
    const int g = lane / 4, t = lane % 4;
    for (int half = 0; half < 2; ++half) {
      const auto part = [&](uint32_t x) {
        return value_of(static_cast<uint16_t>(x >> 16 * half), bf16);
      };
      const int k = 2 * t + half;
      a[g][k] = part(in.a[0]);
      a[g + 8][k] = part(in.a[1]);
      a[g][k + 8] = part(in.a[2]);
      a[g + 8][k + 8] = part(in.a[3]);
      b[k][g] = part(in.b[0]);
      b[k + 8][g] = part(in.b[1]);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& in = operand_of<MmaOperand>(r, lane);
    float c[4];
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + i % 2;
      c[i] = in.c[i];
      for (int k = 0; k < 16; ++k) c[i] += a[row][k] * b[k][column];
    }
    give(block, warp, lane, c);
  }
}

/** Every lane gets the registers of its four neighbours. */
void share_in_quads(Block& block, int warp, const Rendezvous& r) {
  for (int lane = 0; lane < kLanes; ++lane) {
    std::array<Registers, 4> quad;
    for (int t = 0; t < 4; ++t) quad[t] = operand_of<Registers>(r, lane / 4 * 4 + t);
    give(block, warp, lane, quad);
  }
}

void synchronize_lanes(Block& block, int warp, uint32_t mask) {
  Seen all;
  for_each_lane(mask, [&](int lane) { release(*block.threads[warp * kLanes + lane], all); });
  for_each_lane(mask, [&](int lane) { acquire(*block.threads[warp * kLanes + lane], all); });
}

void complete(Block& block, int warp, const Rendezvous& r) {
  const uint32_t detail = r.kind >> kKindBits;
  switch (r.kind % (1 << kKindBits)) {
    case kSyncWarp:
      return synchronize_lanes(block, warp, r.mask);
    case kBallot: {
      uint32_t votes = 0;
      for_each_lane(r.mask, [&](int lane) { votes |= operand_of<uint32_t>(r, lane) << lane; });
      return for_each_lane(r.mask, [&](int lane) { give(block, warp, lane, votes); });
    }
    case kShuffle:
      return shuffle_lanes(block, warp, r);
    case kMatch:
      return match_lanes(block, warp, r);
    case kReduce: {
      const uint32_t result = reduce(r, static_cast<Reduce>(detail / 2), detail % 2 != 0);
      return for_each_lane(r.mask, [&](int lane) { give(block, warp, lane, result); });
    }
    case kLoadMatrix:
      return load_matrices(block, warp, r, static_cast<int>(detail / 2), detail % 2 != 0);
    case kMmaBf16:
      return multiply(block, warp, r, true);
    case kMmaFp16:
      return multiply(block, warp, r, false);
    case kQuad:
      return share_in_quads(block, warp, r);
  }
}

// ----------------------------------------------------------------------------------------------- rendezvous

/** The same primitive of the same line, or code that the compiler duplicated. */
bool same_place(Place a, Place b) { return a == b || line_of(a) == line_of(b); }

/** The rendezvous that the lane joins; one that it should have joined instead is a defect. */
Rendezvous& join(Thread& thread, uint32_t kind, uint32_t mask, Place place) {
  const char* const name = name_of_kind(kind);
  if ((mask >> thread.lane() & 1) == 0) {
    report(
        Defect::kBadArgument, place, "%s with mask 0x%08x, expected the calling lane %d in it",
        name, mask, thread.lane());
  }
  auto& open = thread.block->rendezvous[thread.warp()];
  for (Rendezvous& r : open) {
    if ((r.mask & mask) == 0) continue;
    if (r.kind != kind || r.mask != mask || !same_place(r.place, place)) {
      report(
          Defect::kDivergence, place,
          "%s with mask 0x%08x, while lanes 0x%08x of the warp wait in %s with mask 0x%08x at %s",
          name, mask, r.arrived, name_of_kind(r.kind), r.mask, line_of(r.place).c_str());
    }
    return r;
  }
  for_each_lane(mask, [&](int lane) {
    if (thread.block->threads[thread.warp() * kLanes + lane]->state == Thread::kDone) {
      report(
          Defect::kDivergence, place, "%s with mask 0x%08x, of which lane %d has ended", name, mask,
          lane);
    }
  });
  Rendezvous& r = open.emplace_back();
  r.kind = kind;
  r.mask = mask;
  r.arrived = 0;
  r.place = place;
  return r;
}

template <class Operand>
void warp_operation(
    uint32_t kind, uint32_t mask, const Operand& operand, void* result, size_t result_bytes,
    Place place) {
  static_assert(sizeof(Operand) <= 64);
  Thread& thread = current_thread(name_of_kind(kind));
  Rendezvous& r = join(thread, kind, mask, place);
  std::memcpy(r.operand[thread.lane()].data(), &operand, sizeof operand);
  r.arrived |= 1u << thread.lane();
  if (r.arrived == r.mask) {
    complete(*thread.block, thread.warp(), r);
    for_each_lane(r.mask & ~(1u << thread.lane()), [&](int lane) {
      make_ready(*thread.block->threads[thread.warp() * kLanes + lane]);
    });
    auto& open = thread.block->rendezvous[thread.warp()];
    open.erase(open.begin() + (&r - open.data()));
  } else {
    wait_for(name_of_kind(kind), place);
  }
  std::memcpy(result, thread.result.data(), result_bytes);
}

void begin_epoch(Block& block) {
  block.epoch = new_epoch();
  for (const auto& thread : block.threads) thread->clock = 1;
}

void wake_others(Block& block, const Thread& thread) {
  for (const auto& other : block.threads) {
    if (other.get() != &thread) make_ready(*other);
  }
}

}  // namespace

// --------------------------------------------------------------------------------------------- vector clocks

namespace {

/** The table, emptied when a block barrier came between. */
Seen& renewed(Seen& seen, const Thread& thread) {
  if (seen.epoch != thread.block->epoch) {
    seen.epoch = thread.block->epoch;
    seen.clock.assign(thread.block->threads.size(), 0);
    seen.warp = thread.warp();
    seen.others = false;
  }
  return seen;
}

}  // namespace

void release(Thread& thread, Seen& to) {
  const Seen& seen = renewed(thread.seen, thread);
  renewed(to, thread);
  to.others |= seen.others || to.warp != thread.warp();
  const int first = seen.others ? 0 : thread.warp() * kLanes;
  const int last = seen.others ? static_cast<int>(seen.clock.size()) : first + kLanes;
  for (int i = first; i < last; ++i) to.clock[i] = std::max(to.clock[i], seen.clock[i]);
  to.clock[thread.index] = std::max(to.clock[thread.index], thread.clock);
  ++thread.clock;
}

void acquire(Thread& thread, const Seen& from) {
  if (from.epoch != thread.block->epoch) return;  // before the last block barrier
  Seen& seen = renewed(thread.seen, thread);
  seen.others |= from.others || from.warp != thread.warp();
  const int first = seen.others ? 0 : thread.warp() * kLanes;
  const int last = seen.others ? static_cast<int>(from.clock.size()) : first + kLanes;
  for (int i = first; i < last; ++i) seen.clock[i] = std::max(seen.clock[i], from.clock[i]);
}

// -------------------------------------------------------------------------------------------------- barriers

void sync_block() {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("sync_block");
  Block& block = *thread.block;
  if (block.num_done > 0) {
    for (const auto& other : block.threads) {
      if (other->state != Thread::kDone) continue;
      report(Defect::kDivergence, place, "sync_block, but thread %d has ended", other->index);
    }
  }
  thread.place = place;
  if (++block.num_at_barrier < static_cast<int>(block.threads.size()))
    return wait_for("sync_block", place);
  for (const auto& other : block.threads) {
    if (!same_place(other->place, place)) {
      report(
          Defect::kDivergence, place, "sync_block, while thread %d is in another sync_block, at %s",
          other->index, line_of(other->place).c_str());
    }
  }
  block.num_at_barrier = 0;
  begin_epoch(block);
  note_progress();
  wake_others(block, thread);
}

void sync_grid() {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("sync_grid");
  if (!machine.launch->cooperative)
    report(Defect::kBadArgument, place, "sync_grid in a launch that is not cooperative");
  const int all = machine.num_blocks * machine.launch->threads;
  if (++machine.num_at_grid_barrier < all) return wait_for("sync_grid", place);
  machine.num_at_grid_barrier = 0;
  machine.base_epoch = machine.last_epoch;
  note_progress();
  for (const auto& block : machine.blocks) {
    begin_epoch(*block);
    wake_others(*block, thread);
  }
}

void sync_warp(uint32_t mask) {
  char none = 0;
  warp_operation(kSyncWarp, mask, none, &none, 0, SIMT_PLACE);
}

namespace {

NamedBarrier& arrive_at(
    Thread& thread, const char* primitive, int id, int num_threads, Place place) {
  if (id < 1 || id >= kNamedBarriers) {
    report(
        Defect::kBadArgument, place, "%s id = %d, expected 1 to %d", primitive, id,
        kNamedBarriers - 1);
  }
  if (num_threads < kLanes || num_threads % kLanes != 0 || num_threads > machine.launch->threads) {
    report(
        Defect::kBadArgument, place,
        "%s num_threads = %d, expected a multiple of %d up to the block's %d", primitive,
        num_threads, kLanes, machine.launch->threads);
  }
  NamedBarrier& barrier = thread.block->named[id];
  if (barrier.arrived.empty()) {
    barrier.needed = num_threads;
  } else if (barrier.needed != num_threads) {
    report(
        Defect::kDivergence, place,
        "%s of barrier %d with num_threads = %d, expected %d as thread %d gave", primitive, id,
        num_threads, barrier.needed, barrier.arrived[0]->index);
  }
  barrier.arrived.push_back(&thread);
  release(thread, barrier.seen);
  return barrier;
}

/** Lets all go when enough have arrived. */
bool complete_named(NamedBarrier& barrier) {
  if (static_cast<int>(barrier.arrived.size()) < barrier.needed) return false;
  for (Thread* waiting : barrier.waiting) {
    acquire(*waiting, barrier.seen);
    make_ready(*waiting);
  }
  barrier = NamedBarrier();
  note_progress();
  return true;
}

}  // namespace

void sync_named(int id, int num_threads) {
  const Place place = SIMT_PLACE;
  Thread& thread = current_thread("sync_named");
  NamedBarrier& barrier = arrive_at(thread, "sync_named", id, num_threads, place);
  if (static_cast<int>(barrier.arrived.size()) == barrier.needed) {
    acquire(thread, barrier.seen);
    complete_named(barrier);
    return;
  }
  barrier.waiting.push_back(&thread);
  wait_for("sync_named", place);
}

void arrive_named(int id, int num_threads) {
  const Place place = SIMT_PLACE;
  complete_named(arrive_at(current_thread("arrive_named"), "arrive_named", id, num_threads, place));
}

// ------------------------------------------------------------------------------------------- warp operations

uint32_t ballot(uint32_t mask, bool vote) {
  uint32_t result;
  warp_operation(kBallot, mask, static_cast<uint32_t>(vote), &result, sizeof result, SIMT_PLACE);
  return result;
}

uint64_t shuffle(uint32_t mask, uint64_t value, int from_lane) {
  uint64_t result;
  warp_operation(
      kShuffle, mask, ShuffleOperand{value, from_lane}, &result, sizeof result, SIMT_PLACE);
  return result;
}

uint32_t match(uint32_t mask, uint64_t value) {
  uint32_t result;
  warp_operation(kMatch, mask, value, &result, sizeof result, SIMT_PLACE);
  return result;
}

uint32_t reduce_unsigned(uint32_t mask, uint32_t value, Reduce op) {
  uint32_t result;
  warp_operation(
      kReduce | static_cast<uint32_t>(op) << (kKindBits + 1), mask, value, &result, sizeof result,
      SIMT_PLACE);
  return result;
}

int32_t reduce_signed(uint32_t mask, int32_t value, Reduce op) {
  int32_t result;
  warp_operation(
      kReduce | (static_cast<uint32_t>(op) * 2 + 1) << kKindBits, mask, value, &result,
      sizeof result, SIMT_PLACE);
  return result;
}

void load_matrix(uint32_t* r, const void* row, int num, bool transposed) {
  const uint32_t detail = static_cast<uint32_t>(num) * 2 + transposed;
  warp_operation(
      kLoadMatrix | detail << kKindBits, 0xffffffffu, MatrixRow{row}, r, num * sizeof(uint32_t),
      SIMT_PLACE);
}

namespace {

MmaOperand mma_operand(const float* d, const uint32_t* a, const uint32_t* b) {
  MmaOperand operand;
  std::memcpy(operand.a, a, sizeof operand.a);
  std::memcpy(operand.b, b, sizeof operand.b);
  std::memcpy(operand.c, d, sizeof operand.c);
  return operand;
}

}  // namespace

void mma_bf16(float* d, const uint32_t* a, const uint32_t* b) {
  warp_operation(kMmaBf16, 0xffffffffu, mma_operand(d, a, b), d, 4 * sizeof(float), SIMT_PLACE);
}

void mma_fp16(float* d, const uint32_t* a, const uint32_t* b) {
  warp_operation(kMmaFp16, 0xffffffffu, mma_operand(d, a, b), d, 4 * sizeof(float), SIMT_PLACE);
}

std::array<uint32_t, 16> registers_of_quad(const uint32_t* registers, Place place) {
  Registers operand;
  std::memcpy(operand.r, registers, sizeof operand.r);
  std::array<uint32_t, 16> quad;
  warp_operation(kQuad, 0xffffffffu, operand, quad.data(), sizeof quad, place);
  return quad;
}

}  // namespace simt::emulated
