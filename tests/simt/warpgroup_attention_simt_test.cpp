// tree_attention of a prompt's rows on Hopper: within its bound of fp64, each row alone. On other cards the kernel is another one.
#include "attention_problem.h"

using namespace attention_test;

namespace {

Random seeded() { return Random(static_cast<uint32_t>(check::seed())); }

Case prompt(Type type = Type::kBf16) {
  Case c;
  c.type = type;
  c.prompt = true;
  return c;
}

/** A prompt of `rows` tokens behind kv_len others. */
Tree piece(const Case& c, int kv_len, int rows, Random& random) {
  return Tree(c, kv_len, chain(rows), random);
}

/** Rows first .. first + num - 1 of the first sequence. */
std::vector<Row> some_rows(int first, int num) {
  std::vector<Row> rows;
  for (int i = 0; i < num; ++i) rows.push_back({0, first + i});
  return rows;
}

}  // namespace

TEST(rows_are_within_the_bound_where_tiles_and_pages_end) {
  auto random = seeded();
  const int page_sizes[] = {16, 32, 64, 128, 48, 8, 24, 256, 192};
  int i = 0;
  for (const int kv_len : {0, 1, 15, 16, 62, 63, 64, 127, 128, 129, 191, 192, 193}) {
    Case c = prompt(i % 2 == 0 ? Type::kBf16 : Type::kFp16);
    c.page_size = page_sizes[i % 9];
    c.q_heads = 1 + i % 2;
    check_trees(c, {piece(c, kv_len, 65, random)}, random, 7);
    ++i;
  }
  Case c = prompt();
  c.q_heads = 1;
  for (const int rows : {66, 127, 128, 129, 257}) {
    check_trees(c, {piece(c, 3, rows, random)}, random, 7);
  }
  std::printf("  largest error: %.2f of the bound\n", worst_of_bound);
}

TEST(every_width_and_group_is_within_the_bound) {
  auto random = seeded();
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const int head_dim : {64, 128}) {
      for (const int group : {1, 3, 4, 8}) {
        Case c = prompt(type);
        c.head_dim = head_dim;
        c.kv_heads = group == 3 ? 2 : 1;
        c.q_heads = c.kv_heads * group;
        c.page_size = 32;
        check_trees(c, {piece(c, 70, 65 + group, random)}, random, 11);
      }
    }
  }
  Case c = prompt();
  c.q_heads = 70;  // a row for each block
  check_trees(c, {piece(c, 5, 65, random)}, random, 16);
  // Other widths and wider ones are the other kernel's.
  c.q_heads = 1;
  for (const int head_dim : {80, 256}) {
    c.head_dim = head_dim;
    check_trees(c, {piece(c, 40, 66, random)}, random, 11);
  }
}

TEST(windows_and_caps_are_within_the_bound) {
  auto random = seeded();
  for (const int window : {0, 1, 2, 63, 64, 65, 128, 200, 1000}) {
    for (const float soft_cap : {0.0f, 2.5f}) {
      if (window == 0 && soft_cap == 0) continue;
      Case c = prompt(soft_cap > 0 ? Type::kFp16 : Type::kBf16);
      c.window = window;
      c.soft_cap = soft_cap;
      check_trees(c, {piece(c, 200, 80, random)}, random, 7);
    }
  }
}

/** Whether a prompt has the bits of the same keys as a tree, which are those of the other kernel. */
bool has_bits_of_a_tree(Case c, Random& random) {
  const std::vector<Tree> trees = {piece(c, 77, 70, random)};
  const Floats as_prompt = run(c, trees, random);
  check_all_rows(c, trees, as_prompt, "any");
  c.prompt = false;
  const Floats as_tree = run(c, trees, random);
  return same_bits(as_prompt.data(), as_tree.data(), static_cast<int64_t>(as_tree.size()));
}

TEST(pages_that_are_no_multiple_of_eight_keys_are_the_other_kernels) {
  auto random = seeded();
  for (const int page_size : {1, 4, 20, 100}) {
    Case c = prompt();
    c.page_size = page_size;
    CHECK_MSG(has_bits_of_a_tree(c, random), "page_size %d", page_size);
  }
}

#ifndef ESPALIER_ON_HARDWARE
TEST(where_the_driver_makes_no_tensor_maps_the_other_kernel_attends) {
  auto random = seeded();
  CHECK(!has_bits_of_a_tree(prompt(), random));
  simt::emulated::set_makes_tensor_maps(false);
  CHECK(has_bits_of_a_tree(prompt(), random));
  simt::emulated::set_makes_tensor_maps(true);
}
#endif

TEST(what_the_cache_holds_beside_the_keys_changes_no_bit) {
  // Pages of 64 in which keys begin or end, with windows and without: a piece has keys that no row sees.
  auto random = seeded();
  for (const int window : {0, 90}) {
    Case c = prompt(window == 0 ? Type::kBf16 : Type::kFp16);
    c.head_dim = window == 0 ? 64 : 128;
    c.page_size = 64;
    c.window = window;
    std::vector<Tree> trees = {piece(c, 150, 70, random), piece(c, 3, 67, random)};
    const Floats want = run(c, trees, random);
    for (const float beside : {0.0f, 3.0f, std::numeric_limits<float>::infinity()}) {
      c.beside = beside;
      // Keys in front of the first row's window are beside too.
      for (int key = 0; window > 0 && key <= 150 - window; ++key) {
        std::fill_n(&trees[0].k[key * c.kv_dim()], c.kv_dim(), beside);
        std::fill_n(&trees[0].v[key * c.kv_dim()], c.kv_dim(), beside);
      }
      const Floats got = run(c, trees, random);
      CHECK_MSG(
          same_bits(got.data(), want.data(), static_cast<int64_t>(want.size())),
          "window %d, %g beside the keys", window, beside);
    }
  }
}

TEST(unequal_sequences_are_within_the_bound) {
  auto random = seeded();
  Case c = prompt();
  c.page_size = 32;
  check_trees(
      c,
      {piece(c, 0, 1, random), piece(c, 300, 40, random), piece(c, 97, 70, random),
       piece(c, 1, 20, random)},
      random, 3);
  std::vector<Tree> trees;
  for (int i = 0; i < 35; ++i) trees.push_back(piece(c, i * 7, 2, random));
  check_trees(c, trees, random, 3);
}

TEST(equal_keys_give_the_mean_of_the_visible_values) {
  auto random = seeded();
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const int window : {0, 100}) {
      Case c = prompt(type);
      c.window = window;
      std::vector<Tree> trees = {piece(c, 90, 70, random)};
      Tree& t = trees[0];
      std::fill(t.k.begin(), t.k.end(), 0.0f);
      for (float& value : t.v) value = static_cast<float>(random() % 17) - 8;
      const Floats out = run(c, trees, random);
      for (int node = 0; node < t.nodes(); ++node) {
        const Ints keys = t.keys_of(node, window);
        for (int d = 0; d < c.head_dim; ++d) {
          float sum = 0;
          for (const int key : keys) sum += t.v[key * c.kv_dim() + d];
          const float mean = sum / static_cast<float>(keys.size());
          CHECK_MSG(
              out[node * c.row_len() + d] == mean, "window %d, node %d: %g, mean %g", window, node,
              out[node * c.row_len() + d], mean);
        }
      }
    }
  }
}

TEST(neither_other_rows_nor_places_nor_order_change_a_bit) {
  auto random = seeded();
  Case c = prompt();
  c.kv_heads = 2;
  c.q_heads = 4;
  c.window = 150;
  const std::vector<Tree> trees = {piece(c, 100, 140, random), piece(c, 30, 66, random)};
  const Floats want = run(c, trees, random);
  const auto check_rows = [&](const std::vector<Row>& rows, const char* what) {
    const Floats got = run(c, trees, rows, random);
    for (size_t r = 0; r < rows.size(); ++r) {
      const int at = rows[r].node + (rows[r].tree == 1 ? trees[0].nodes() : 0);
      CHECK_MSG(
          same_bits(&got[r * c.row_len()], &want[at * c.row_len()], c.row_len()),
          "%s, %zu rows, row %d of sequence %d", what, rows.size(), rows[r].node, rows[r].tree);
    }
  };
  for_each_order([&](const char* order) { check_rows(all_rows(trees), order); });
  check_rows(some_rows(0, 65), "the first rows");
  check_rows(some_rows(75, 65), "the last rows");
  check_rows(some_rows(13, 101), "rows between");
}

TEST(a_prompt_in_pieces_has_the_bits_of_one) {
  auto random = seeded();
  const Case c = prompt(Type::kFp16);
  const std::vector<Tree> whole = {piece(c, 0, 200, random)};
  const Floats want = run(c, whole, random);
  Tree second(c, 90, chain(110), random);
  second.k = whole[0].k;
  second.v = whole[0].v;
  second.q.assign(whole[0].q.begin() + 90 * c.row_len(), whole[0].q.end());
  const Floats got = run(c, {second}, random);
  CHECK(same_bits(got.data(), &want[90 * c.row_len()], 110 * c.row_len()));
}

TEST(rows_without_a_sequence_are_not_written) {
  auto random = seeded();
  const Case c = prompt();
  const std::vector<Tree> trees = {piece(c, 120, 70, random)};
  auto rows = all_rows(trees);
  rows.insert(rows.begin(), 2, Row{-1, 0});
  rows.push_back({-1, 0});
  const Floats out = run(c, trees, rows, random), want = run(c, trees, random);
  // An output that nobody wrote holds 0xff in each byte.
  for (int i = 0; i < 2 * c.row_len(); ++i) CHECK(std::isnan(out[i]));
  for (int i = 0; i < c.row_len(); ++i) CHECK(std::isnan(out[out.size() - 1 - i]));
  CHECK(same_bits(&out[2 * c.row_len()], want.data(), static_cast<int64_t>(want.size())));
}

TEST(keys_with_a_score_of_minus_infinity_have_no_weight) {
  auto random = seeded();
  const Case c = prompt();
  const auto gone = [](int key) { return key < 130 || key == 140; };
  check_gone_keys(c, piece(c, 150, 66, random), gone, random);
}

TEST(nan_and_infinity_reach_only_the_rows_that_see_them) {
  auto random = seeded();
  for (const int window : {0, 60}) {
    Case c = prompt(window == 0 ? Type::kBf16 : Type::kFp16);
    c.window = window;
    c.kv_heads = 2;
    c.q_heads = 4;
    const std::vector<Tree> trees = {piece(c, 60, 100, random), piece(c, 20, 30, random)};
    const Floats clean = run(c, trees, random);
    const auto rows = all_rows(trees);
    for (const int key : {2, 90, 127, 130}) {
      for (const float bad :
           {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        auto with_bad = trees;
        with_bad[0].k[key * c.kv_dim() + 3] = bad;
        with_bad[0].v[key * c.kv_dim() + c.head_dim + 5] = bad;
        const Floats out = run(c, with_bad, random);
        for (size_t r = 0; r < rows.size(); ++r) {
          const Tree& t = trees[rows[r].tree];
          const Ints keys = t.keys_of(rows[r].node, window);
          const bool sees =
              rows[r].tree == 0 && std::find(keys.begin(), keys.end(), key) != keys.end();
          for (int i = 0; i < c.row_len(); ++i) {
            const int h = i / c.head_dim, d = i % c.head_dim;
            const float got = out[r * c.row_len() + i], want = clean[r * c.row_len() + i];
            const bool hit = sees && (h < 2 || d == 5);
            // With a score of -infinity a key has no weight.
            const float q = t.q[rows[r].node * c.row_len() + h * c.head_dim + 3];
            const bool no_weight = hit && h < 2 && std::isinf(bad) && q < 0;
            const bool good = no_weight ? std::isfinite(got)
                              : hit     ? !std::isfinite(got)
                                        : std::fabs(got - want) <= 0.02f;
            CHECK_MSG(
                good, "%g at key %d, window %d, row %d of sequence %d, head %d, dimension %d: %g",
                bad, key, window, rows[r].node, rows[r].tree, h, d, got);
          }
        }
      }
    }
  }
}

TEST(nan_in_a_query_stays_in_its_row_and_head) {
  auto random = seeded();
  Case c = prompt();
  c.q_heads = 2;
  const std::vector<Tree> clean = {piece(c, 60, 70, random)};
  auto with_bad = clean;
  with_bad[0].q[31 * c.row_len() + c.head_dim + 9] = std::numeric_limits<float>::quiet_NaN();
  const Floats want = run(c, clean, random), got = run(c, with_bad, random);
  for (int i = 0; i < 70 * c.row_len(); ++i) {
    const bool hit = i / c.row_len() == 31 && i % c.row_len() >= c.head_dim;
    CHECK_MSG(
        hit ? std::isnan(got[i]) : same_bits(&got[i], &want[i], 1), "row %d, %d: %g, clean %g",
        i / c.row_len(), i % c.row_len(), got[i], want[i]);
  }
}

TEST(offsets_beyond_2_to_31_elements) {
  // A cache of which only the last slots are used: 60 positions, then a prompt of 68 tokens.
  constexpr int kPage = 16, kDim = 64, kHeads = 2, kPages = (1 << 20) + 9, kLen = 60, kRows = 68;
  using espalier::Bf16;
  const auto k = Buffer<Bf16>::sparse("k_cache", size_t{kPages} * kPage * kHeads * kDim);
  const auto v = Buffer<Bf16>::sparse("v_cache", size_t{kPages} * kPage * kHeads * kDim);
  Ints pages, slot, rows(kRows), ancestors(kRows * kRows, -1);
  for (int i = 0; i < 8; ++i) pages.push_back(kPages - 1 - i);
  for (int p = 0; p < kLen + kRows; ++p) {
    slot.push_back(pages[p / kPage] * kPage + p % kPage);
    for (int d = 0; d < kDim; ++d)
      v.data()[(int64_t{slot[p]} * kHeads + 1) * kDim + d] =
          stored<Bf16>(static_cast<float>((p * 7 + d) % 13));
  }
  std::iota(rows.begin(), rows.end(), 0);
  for (int r = 0; r < kRows; ++r) std::copy_n(&slot[kLen], r + 1, &ancestors[r * kRows]);
  const auto table = Buffer<int32_t>::input("page_table", pages),
             len = Buffer<int32_t>::input("kv_len", {kLen}),
             seq = Buffer<int32_t>::input("row_seq", Ints(kRows, 0)),
             depth = Buffer<int32_t>::input("depth", rows),
             ancestor = Buffer<int32_t>::input("ancestor_slot", ancestors);
  const auto q = Buffer<float>::input("q", Floats(kRows * kHeads * kDim, 1.0f));
  const auto out = Buffer<float>::output("out", kRows * kHeads * kDim);
  TreeAttentionArgs args{};
  args.q = q.data();
  args.k_cache = k.data();
  args.v_cache = v.data();
  args.kv_type = Type::kBf16;
  args.page_table = table.data();
  args.kv_len = len.data();
  args.row_seq = seq.data();
  args.depth = depth.data();
  args.ancestor_slot = ancestor.data();
  args.scale = 1;
  args.out = out.data();
  args.rows = args.max_depth = kRows;
  args.batch = 1;
  args.max_pages = 8;
  args.num_pages = kPages;
  args.page_size = kPage;
  args.num_q_heads = args.num_kv_heads = kHeads;
  args.head_dim = kDim;
  args.prompt = true;
  const auto workspace = Buffer<simt::Vec<float, 4>>::output(
      "workspace", espalier::tree_attention_workspace_bytes(args) / 16 + 1);
  espalier::cuda_tree_attention(args, workspace.data(), nullptr);
  for (int r = 0; r < kRows; ++r) {
    for (int d = 0; d < kDim; ++d) {
      double mean = 0;
      for (int p = 0; p <= kLen + r; ++p) mean += (p * 7 + d) % 13;
      mean /= kLen + r + 1;
      CHECK_EQ(out.data()[r * kHeads * kDim + d], 0.0f);
      const float got = out.data()[(r * kHeads + 1) * kDim + d];
      CHECK_MSG(std::fabs(got - mean) < 1e-5, "row %d, dimension %d: %g, mean %g", r, d, got, mean);
    }
  }
}
