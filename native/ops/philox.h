// The keyed noise of sampling: Philox4x32-10 and what is made of it.
//
// Noise is a function of (seed, stream, position, token, purpose) and of nothing else, so a token
// that is computed alone and the same token as a node of a tree see the same noise.
//
// Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
#ifndef ESPALIER_OPS_PHILOX_H
#define ESPALIER_OPS_PHILOX_H

#include <cstdint>

#include "ops/elementary.h"

namespace espalier {

struct PhiloxBlock {
  uint32_t word[4];
  ESPALIER_SHARED uint32_t operator[](int i) const { return word[i]; }
  bool operator==(const PhiloxBlock&) const = default;
};

/** Ten rounds of Philox4x32. */
ESPALIER_SHARED PhiloxBlock philox(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

/** What noise is for: uses that must not see each other's. */
enum class Purpose : uint32_t {
  kTarget = 0,    // ESPALIER_TARGET_NOISE
  kDraft = 1,     // ESPALIER_DRAFT_NOISE
  kAccept = 2,    // speculative sampling: the test of a child
  kResidual = 3,  // speculative sampling: the token after the last accepted node
};

/**
 * The four words of tokens 4 * (token / 4) .. + 3: key is the seed, the counter is the purpose (3
 * bits) over token / 4 (29 bits), the position, and the stream.
 */
ESPALIER_SHARED PhiloxBlock
noise_block(uint64_t seed, uint64_t stream, int32_t position, int32_t token, Purpose purpose) {
  const PhiloxBlock counter = {
      (static_cast<uint32_t>(purpose) << 29) | (static_cast<uint32_t>(token) >> 2),
      static_cast<uint32_t>(position), static_cast<uint32_t>(stream),
      static_cast<uint32_t>(stream >> 32)};
  return philox(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

/**
 * Gumbel noise of one word: -log(E), where E = -log(1 - u) is exponential and u = (word + 1/2) /
 * 2^32. Small u decides large noise, and there the steps are finest. Within (-3.2, 22.9): never
 * infinite.
 */
ESPALIER_SHARED float gumbel(uint32_t word) {
  constexpr uint32_t kQuarter = uint32_t{1} << 30;
  const float e = word < kQuarter ? -log1p_fp32((static_cast<float>(word) + 0.5f) * -0x1p-32f)
                                  : -log_fp32((static_cast<float>(~word) + 0.5f) * 0x1p-32f);
  return -log_fp32(e);
}

/**
 * No Gumbel noise of this word is above it: -log(E) <= -log(u), and u >= 2^(e - 32), e being the
 * exponent of word + 1/2. No logarithm is taken.
 */
ESPALIER_SHARED float gumbel_bound(uint32_t word) {
  const uint32_t e = bits_of(static_cast<float>(word) + 0.5f) >> 23;  // and 127
  return 0.6932f * static_cast<float>(159 - static_cast<int32_t>(e));
}

/** No Gumbel noise is above this. */
constexpr float kGumbelMax = 22.9f;

/** Gumbel noise of a token. */
ESPALIER_SHARED float noise(
    uint64_t seed, uint64_t stream, int32_t position, int32_t token, Purpose purpose) {
  return gumbel(noise_block(seed, stream, position, token, purpose)[token & 3]);
}

/** A uniform number in [0, 1), a multiple of 2^-32; idx tells apart the numbers of one position. */
ESPALIER_SHARED double uniform(
    uint64_t seed, uint64_t stream, int32_t position, int32_t idx, Purpose purpose) {
  return noise_block(seed, stream, position, idx, purpose)[idx & 3] * 0x1p-32;
}

}  // namespace espalier

#endif
