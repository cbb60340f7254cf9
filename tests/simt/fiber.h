// Switching between fibers: the registers that a call preserves go on the stack, then the stack changes.
#ifndef ESPALIER_TESTS_SIMT_FIBER_H
#define ESPALIER_TESTS_SIMT_FIBER_H

#include <cstddef>

namespace simt::emulated {

constexpr size_t kStackBytes = 256 * 1024;

/** Saves this stack in *save and goes on with the other one. */
extern "C" void simt_switch_stack(void** save, void* to);

/** A stack pointer from which simt_switch_stack begins `entry`, which never returns. */
void* begin_stack(char* stack, void (*entry)());

/** Lowest address of stack `i`; the page below it is not accessible. */
char* stack_at(size_t i);

}  // namespace simt::emulated

#endif
