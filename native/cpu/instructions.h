// Which instructions the kernels use.
#ifndef ESPALIER_CPU_INSTRUCTIONS_H
#define ESPALIER_CPU_INSTRUCTIONS_H

namespace espalier {

enum class Instructions { kPlain, kAvx2, kAvx512 };

/**
 * The best path of this processor, or the one that the environment variable
 * ESPALIER_CPU_INSTRUCTIONS names (plain, avx2, avx512). Throws when the processor lacks that one.
 */
Instructions cpu_path();

/** The name of cpu_path(). */
const char* cpu_instructions();

}  // namespace espalier

#endif
