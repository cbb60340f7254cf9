// Launches: every thread of a block is a fiber that runs until it waits; blocks run one after the other.
#include "machine.h"

#include <sys/mman.h>

#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "fiber.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt::emulated {

Machine machine;
std::recursive_mutex turn;
constinit thread_local Thread* current = nullptr;

const char* name_of(Defect defect) {
  switch (defect) {
    case Defect::kOutOfBounds:
      return "out of bounds";
    case Defect::kMisaligned:
      return "misaligned access";
    case Defect::kReadOnly:
      return "write to a read-only buffer";
    case Defect::kRace:
      return "race";
    case Defect::kUnwritten:
      return "read of memory that nobody wrote";
    case Defect::kUnfinishedCopy:
      return "access before the copy's wait";
    case Defect::kDivergence:
      return "divergence";
    case Defect::kDeadlock:
      return "deadlock";
    case Defect::kBeforePrevious:
      return "access before wait_for_previous";
    case Defect::kBadArgument:
      return "bad argument";
  }
  return "?";
}

namespace {

std::string full_text(
    Defect defect, const std::string& kernel, int block, int thread, const std::string& place,
    const std::string& text) {
  std::string s = kernel;
  if (block >= 0) s += ", block " + std::to_string(block);
  if (thread >= 0) s += ", thread " + std::to_string(thread);
  if (!place.empty()) s += ", " + place;
  return s + ": " + name_of(defect) + ": " + text;
}

// ------------------------------------------------------------------------------------------------ switching

#if defined(__SANITIZE_ADDRESS__)
void switch_to(Thread& thread) {
  __sanitizer_start_switch_fiber(&machine.asan_stack, thread.stack, kStackBytes);
  simt_switch_stack(&machine.stack_pointer, thread.stack_pointer);
  __sanitizer_finish_switch_fiber(machine.asan_stack, nullptr, nullptr);
}

void switch_to_host(Thread& thread, bool for_good) {
  __sanitizer_start_switch_fiber(
      for_good ? nullptr : &thread.asan_stack, machine.host_stack, machine.host_stack_bytes);
  simt_switch_stack(&thread.stack_pointer, machine.stack_pointer);
  __sanitizer_finish_switch_fiber(
      thread.asan_stack, &machine.host_stack, &machine.host_stack_bytes);
}

void finish_first_switch() {
  __sanitizer_finish_switch_fiber(nullptr, &machine.host_stack, &machine.host_stack_bytes);
}

void clean_stack(char* stack) { __asan_unpoison_memory_region(stack, kStackBytes); }
#else
void switch_to(Thread& thread) { simt_switch_stack(&machine.stack_pointer, thread.stack_pointer); }
void switch_to_host(Thread& thread, bool) {
  simt_switch_stack(&thread.stack_pointer, machine.stack_pointer);
}
void finish_first_switch() {}
void clean_stack(char*) {}
#endif

[[noreturn]] void end_fiber() {
  switch_to_host(*current, true);
  __builtin_unreachable();
}

void finish_thread(Thread& thread) {
  Block& block = *thread.block;
  thread.state = Thread::kDone;
  ++block.num_done;
  note_progress();
  for (const Rendezvous& r : block.rendezvous[thread.warp()]) {
    if ((r.mask >> thread.lane() & 1) != 0) {
      report(
          Defect::kDivergence, r.place,
          "thread %d has ended and is in the mask 0x%08x of a warp operation", thread.index,
          r.mask);
    }
  }
  if (block.num_at_barrier > 0) {
    for (const auto& other : block.threads) {
      if (other->state != Thread::kWaiting || std::strcmp(other->waiting_for, "sync_block") != 0)
        continue;
      report(
          Defect::kDivergence, other->place, "thread %d has ended while thread %d waits in %s",
          thread.index, other->index, other->waiting_for);
    }
  }
}

void run_fiber() {
  finish_first_switch();
  machine.launch->call(machine.launch->params);
  finish_thread(*current);
  end_fiber();
}

// ----------------------------------------------------------------------------------------------- scheduling

constexpr uint64_t kMostPolls = 100000;  // of all threads together, without a change of anything

int pick_bit(uint32_t mask) {
  switch (machine.order) {
    case Order::kForward:
      return std::countr_zero(mask);
    case Order::kReverse:
      return 31 - std::countl_zero(mask);
    case Order::kShuffled:
      break;
  }
  for (int skip = static_cast<int>(machine.random() % std::popcount(mask)); skip > 0; --skip)
    mask &= mask - 1;
  return std::countr_zero(mask);
}

Thread* pick() {
  const size_t num_blocks = machine.blocks.size();
  const size_t first = machine.order == Order::kShuffled && num_blocks > 1 ? machine.random() : 0;
  for (size_t i = 0; i < num_blocks; ++i) {
    const auto& block = machine.blocks[(first % num_blocks + i) % num_blocks];
    if (block->warps_ready == 0) continue;
    const int warp = pick_bit(block->warps_ready);
    return block->threads[warp * kLanes + pick_bit(block->ready[warp])].get();
  }
  return nullptr;
}

void clear_ready(const Thread& thread) {
  Block& block = *thread.block;
  block.ready[thread.warp()] &= ~(1u << thread.lane());
  if (block.ready[thread.warp()] == 0) block.warps_ready &= ~(1u << thread.warp());
}

/** Who waits where: one entry for each primitive and line. */
std::string describe_waits() {
  std::map<std::string, std::vector<const Thread*>> waits;
  for (const auto& block : machine.blocks) {
    for (const auto& thread : block->threads) {
      if (thread->state == Thread::kDone) continue;
      waits[std::string(thread->waiting_for) + " at " + line_of(thread->place)].push_back(
          thread.get());
    }
  }
  std::string text;
  for (const auto& [wait, threads] : waits) {
    if (!text.empty()) text += "; ";
    text += std::to_string(threads.size()) +
            (threads.size() == 1 ? " thread in " : " threads in ") + wait + ", first block " +
            std::to_string(threads[0]->block->index) + " thread " +
            std::to_string(threads[0]->index);
  }
  return text;
}

void run_alive() {
  for (;;) {
    Thread* next = pick();
    if (next == nullptr) {
      const Thread* waits = nullptr;
      bool polls = false;
      for (const auto& block : machine.blocks) {
        for (const auto& thread : block->threads) {
          if (thread->state == Thread::kDone) continue;
          if (waits == nullptr) waits = thread.get();
          if (thread->state != Thread::kPolling) continue;
          make_ready(*thread);
          polls = true;
        }
      }
      if (waits == nullptr) return;
      if (polls && machine.polls < kMostPolls) continue;
      report_of(
          waits, waits->block->index, Defect::kDeadlock, waits->place, "%s",
          describe_waits().c_str());
    }
    clear_ready(*next);
    current = next;
    ++machine.counts.switches;
    switch_to(*next);
    current = nullptr;
    if (machine.report) return;
  }
}

std::unique_ptr<Block> create_block(int index, size_t first_stack) {
  auto block = std::make_unique<Block>();
  block->index = index;
  block->epoch = block->first_epoch = new_epoch();
  block->threads.reserve(machine.launch->threads);
  for (int i = 0; i < machine.launch->threads; ++i) {
    auto thread = std::make_unique<Thread>();
    thread->block = block.get();
    thread->index = i;
    thread->stack = stack_at(first_stack + i);
    thread->waiting_for = "nothing";
    thread->clock = 1;
    clean_stack(thread->stack);
    thread->stack_pointer = begin_stack(thread->stack, run_fiber);
    make_ready(*thread);
    block->threads.push_back(std::move(thread));
  }
  ++machine.counts.blocks;
  machine.counts.threads += machine.launch->threads;
  return block;
}

bool blocks_together = false;
int last_blocks = 0;

std::vector<int> block_order() {
  const int all = machine.num_blocks, num = last_blocks == 0 ? all : std::min(last_blocks, all);
  std::vector<int> order(num);
  std::iota(order.begin(), order.end(), all - num);
  if (machine.order == Order::kReverse) std::reverse(order.begin(), order.end());
  if (machine.order == Order::kShuffled) std::shuffle(order.begin(), order.end(), machine.random);
  return order;
}

void check_launch(const LaunchCall& call) {
  if (call.threads < kLanes || call.threads > kMaxThreads || call.threads % kLanes != 0) {
    report(
        Defect::kBadArgument, 0, "threads = %d, expected a multiple of %d up to %d", call.threads,
        kLanes, kMaxThreads);
  }
  for (int axis = 0; axis < 3; ++axis) {
    const int most = axis == 0 ? INT32_MAX : 65535;
    if (call.grid[axis] < 0 || call.grid[axis] > most) {
      report(
          Defect::kBadArgument, 0, "grid axis %d = %d, expected 0 to %d", axis, call.grid[axis],
          most);
    }
  }
  if (call.shared_bytes > 227 * 1024) {
    report(
        Defect::kBadArgument, 0, "shared_bytes = %zu, expected at most 227 KiB", call.shared_bytes);
  }
}

/** As launched, without the parentheses that commas in a macro's argument need. */
std::string kernel_name() {
  if (machine.launch == nullptr) return "no launch";
  const std::string name = machine.launch->kernel;
  return name.front() == '(' ? name.substr(1, name.size() - 2) : name;
}

void report_text(
    const Thread* thread, int block, Defect defect, Place place, const char* format, va_list args) {
  char text[1024];
  std::vsnprintf(text, sizeof text, format, args);
  machine.report = std::make_unique<Report>(
      defect, kernel_name(), block, thread == nullptr ? -1 : thread->index,
      place == 0 ? std::string() : line_of(place), text);
}

}  // namespace

Report::Report(
    Defect defect, std::string kernel, int block, int thread, std::string place,
    const std::string& text)
    : std::runtime_error(full_text(defect, kernel, block, thread, place, text)),
      defect(defect),
      kernel(std::move(kernel)),
      block(block),
      thread(thread),
      place(std::move(place)) {}

void report(Defect defect, Place place, const char* format, ...) {
  Thread* thread = current;
  current = nullptr;  // what follows is not the kernel's
  va_list args;
  va_start(args, format);
  report_text(thread, thread == nullptr ? -1 : thread->block->index, defect, place, format, args);
  va_end(args);
  if (thread == nullptr) throw *std::exchange(machine.report, nullptr);
  current = thread;
  end_fiber();
}

void report_of(
    const Thread* thread, int block, Defect defect, Place place, const char* format, ...) {
  Thread* running = std::exchange(current, nullptr);
  va_list args;
  va_start(args, format);
  report_text(thread, block, defect, place, format, args);
  va_end(args);
  if (running == nullptr) throw *std::exchange(machine.report, nullptr);
  current = running;
  end_fiber();
}

Thread& current_thread(const char* primitive) {
  if (current == nullptr)
    throw std::logic_error(std::string(primitive) + " called outside of a kernel");
  return *current;
}

void wait_for(const char* primitive, Place place) {
  Thread& thread = *current;
  thread.state = Thread::kWaiting;
  thread.waiting_for = primitive;
  thread.place = place;
  switch_to_host(thread, false);
}

void poll(const char* primitive, Place place) {
  Thread& thread = *current;
  thread.state = Thread::kPolling;
  thread.waiting_for = primitive;
  thread.place = place;
  ++machine.polls;
  switch_to_host(thread, false);
}

void make_ready(Thread& thread) {
  thread.state = Thread::kReady;
  thread.block->ready[thread.warp()] |= 1u << thread.lane();
  thread.block->warps_ready |= 1u << thread.warp();
}

void note_progress() { machine.polls = 0; }

uint32_t new_epoch() { return ++machine.last_epoch; }

void set_order(Order order, uint64_t seed) {
  const Turn held(turn);
  machine.order = order;
  machine.random.seed(seed);
}

Counts counts() {
  const Turn held(turn);
  return machine.counts;
}

void run_launch(const LaunchCall& call) {
  const Turn held(turn);
  if (machine.launch != nullptr) throw std::logic_error("a launch inside a launch");
  struct Reset {
    ~Reset() {
      for (Region* region : machine.shared) destroy_shared(region);
      machine.blocks.clear();
      machine.shared.clear();
      machine.atomics.clear();
      machine.launch = nullptr;
      machine.num_at_grid_barrier = 0;
      machine.report = nullptr;
    }
  } reset;
  machine.launch = &call;
  ++machine.counts.launches;
  machine.kernels.insert(call.kernel);
  check_launch(call);
  const int64_t num_blocks = int64_t{call.grid[0]} * call.grid[1] * call.grid[2];
  if (num_blocks > kMaxBlocks) {
    report(
        Defect::kBadArgument, 0, "blocks = %ld, expected at most %ld to emulate", num_blocks,
        kMaxBlocks);
  }
  machine.num_blocks = static_cast<int>(num_blocks);
  machine.base_epoch = machine.last_epoch;
  const std::vector<int> order = block_order();
  const auto run = [] {
    machine.polls = 0;
    run_alive();
    if (machine.report) throw Report(*machine.report);
  };
  if (call.cooperative || blocks_together) {
    for (size_t i = 0; i < order.size(); ++i)
      machine.blocks.push_back(create_block(order[i], i * call.threads));
    run();
    return;
  }
  for (const int index : order) {
    machine.blocks.push_back(create_block(index, 0));
    run();
    machine.blocks.clear();
    for (Region* region : machine.shared) destroy_shared(region);
    machine.shared.clear();
  }
}

void set_blocks_together(bool together) {
  const Turn held(turn);
  blocks_together = together;
}

void set_last_blocks(int num) {
  const Turn held(turn);
  last_blocks = num;
}

// -------------------------------------------------------------------------------------------------- indices

int thread() { return current_thread("thread").index; }
int num_threads() { return machine.launch->threads; }
int num_blocks(int axis) { return machine.launch->grid[axis]; }

int block(int axis) {
  const int index = current_thread("block").block->index;
  const int* grid = machine.launch->grid;
  if (axis == 0) return index % grid[0];
  if (axis == 1) return index / grid[0] % grid[1];
  return index / grid[0] / grid[1];
}

// -------------------------------------------------------------------------------------------- shared memory

void* shared(const void* site, const char* name, size_t bytes, size_t alignment, size_t granule) {
  Block& block = *current_thread("shared").block;
  auto& known = block.shared[site];
  if (known == nullptr) {
    known = create_shared(name, bytes, alignment, granule, block);
    machine.shared.push_back(known);
  }
  return data_of(known);
}

void* dynamic_shared(size_t granule, size_t alignment) {
  static const char site = 0;
  return shared(&site, "dynamic shared memory", machine.launch->shared_bytes, alignment, granule);
}

}  // namespace simt::emulated
