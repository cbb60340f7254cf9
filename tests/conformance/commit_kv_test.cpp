// commit_kv against moves one after the other.
#include <algorithm>

#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Ints = std::vector<int32_t>;
using Halves = std::vector<uint16_t>;

constexpr int kLayers = 3, kPages = 4, kPageSize = 16, kRow = 2 * 6;
constexpr int64_t kElements = int64_t{kLayers} * kPages * kPageSize * kRow;
const Shape kCache = {kLayers * kPages, kPageSize, 2, 6};

}  // namespace

TEST(rows_move_in_order_in_every_layer) {
  const Context ctx;
  Random random(1);
  for (int round = 0; round < 100; ++round) {
    Halves k(kElements), v(kElements);
    for (auto* cache : {&k, &v}) {
      for (uint16_t& x : *cache) x = static_cast<uint16_t>(random.bits());
    }
    Ints from, to;
    const int moves = random.below(40);
    for (int m = 0; m < moves; ++m) {
      from.push_back(random.below(kPages * kPageSize));
      to.push_back(random.below(kPages * kPageSize));
    }
    Buffer k_cache(ctx, ESPALIER_BF16, kCache), v_cache(ctx, ESPALIER_BF16, kCache);
    k_cache.write(k);
    v_cache.write(v);
    ok(espalier_commit_kv(
        ctx, Buffer(ctx, {moves}, from), Buffer(ctx, {moves}, to), kLayers, k_cache, v_cache));
    for (auto* cache : {&k, &v}) {
      for (int layer = 0; layer < kLayers; ++layer) {
        uint16_t* rows = cache->data() + int64_t{layer} * kPages * kPageSize * kRow;
        for (int m = 0; m < moves; ++m)
          std::copy_n(
              Halves(rows + from[m] * kRow, rows + (from[m] + 1) * kRow).data(), kRow,
              rows + to[m] * kRow);
      }
    }
    CHECK(k_cache.read<uint16_t>(kElements) == k);
    CHECK(v_cache.read<uint16_t>(kElements) == v);
  }
}

/** Paths 0, 2, 3 and 0, 1, 4 of two trees behind 0 and 4 tokens: a row is read before it is written over. */
TEST(accepted_paths_of_known_numbers_move_together) {
  const Context ctx;
  Halves rows(kElements);
  for (int64_t i = 0; i < kElements; ++i) rows[i] = static_cast<uint16_t>(i / kRow);
  for (const auto& [from, to] :
       {std::pair{Ints{0, 2, 3}, Ints{0, 1, 2}}, std::pair{Ints{4, 5, 8}, Ints{4, 5, 6}}}) {
    Buffer k(ctx, ESPALIER_BF16, kCache), v(ctx, ESPALIER_BF16, kCache);
    k.write(rows);
    v.write(rows);
    ok(espalier_commit_kv(ctx, Buffer(ctx, {3}, from), Buffer(ctx, {3}, to), kLayers, k, v));
    for (Buffer* cache : {&k, &v}) {
      const Halves got = cache->read<uint16_t>(kElements);
      for (int layer = 0; layer < kLayers; ++layer) {
        for (int i = 0; i < 3; ++i) {
          const int first = layer * kPages * kPageSize;
          CHECK_EQ(got[(first + to[i]) * kRow], first + from[i]);
        }
      }
    }
  }
}

TEST(bad_arguments_are_refused_and_the_cache_is_untouched) {
  const Context ctx;
  Buffer k_cache(ctx, ESPALIER_BF16, kCache), v_cache(ctx, ESPALIER_BF16, kCache);
  k_cache.write(Halves(kElements, 7));
  const auto refuses = [&](const Ints& from, const Ints& to, int layers, const std::string& text) {
    Buffer from_buffer(ctx, {static_cast<int64_t>(from.size())}, from),
        to_buffer(ctx, {static_cast<int64_t>(to.size())}, to);
    refused(
        espalier_commit_kv(ctx, from_buffer, to_buffer, layers, k_cache, v_cache),
        ESPALIER_INVALID_ARGUMENT, "espalier_commit_kv: " + text);
  };
  if (espalier_test::on_cpu()) {  // a GPU's memory is not read for checks
    refuses({0, 64}, {1, 1}, kLayers, "from[1] = 64, expected 0 <= from < slots of a layer = 64");
    refuses({0}, {-1}, kLayers, "to[0] = -1, expected 0 <= to < slots of a layer = 64");
  }
  refuses({0}, {1, 2}, kLayers, "num_moves of to = 2, expected 1, as from has");
  refuses({0}, {1}, 5, "num_layers = 5, expected a divisor of the 12 pages of k_cache");
  refuses({0}, {1}, 0, "num_layers = 0, expected a divisor of the 12 pages of k_cache");
  CHECK(k_cache.read<uint16_t>(kElements) == Halves(kElements, 7));
}
