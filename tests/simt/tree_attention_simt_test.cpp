// tree_attention: within its bound of fp64, and a row has the same bits whatever it comes with, wherever its keys lie and
// whether they are committed or in the tree.
#include "attention_problem.h"

using namespace attention_test;

namespace {

/** NaN and then infinity in K of head 0 and V of head 1, at each of some keys of one of two sequences. */
void check_bad_keys(
    Type type, int window, int kv_len, const Ints& parent, const Ints& bad_keys, Random& random) {
  Case c;
  c.type = type;
  c.window = window;
  c.kv_heads = 2;
  c.q_heads = 4;
  const std::vector<Tree> trees = {Tree(c, kv_len, parent, random), Tree(c, 100, chain(2), random)};
  const Floats clean = run(c, trees, random);
  const auto rows = all_rows(trees);
  for (const int key : bad_keys) {
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
          const float got = out[r * c.row_len() + i];
          const bool hit = sees && (h < 2 || d == 5);
          // With a score of -infinity a key has no weight.
          const float q = t.q[rows[r].node * c.row_len() + h * c.head_dim + 3];
          const bool no_weight = hit && h < 2 && std::isinf(bad) && q < 0;
          const bool good = no_weight ? std::isfinite(got)
                            : hit     ? !std::isfinite(got)
                                      : same_bits(&got, &clean[r * c.row_len() + i], 1);
          CHECK_MSG(
              good, "%g at key %d, window %d, node %d of tree %d, head %d, dimension %d: %g", bad,
              key, window, rows[r].node, rows[r].tree, h, d, got);
        }
      }
    }
  }
}

}  // namespace

TEST(rows_are_within_the_bound_of_fp64) {
  Random random(static_cast<uint32_t>(check::seed()));
  // Positions at which a page, a tile, its margin or a split begins or ends.
  const int lengths[] = {0,   1,   15,  16,  17,  31,  32,  33,  63,   64,  65,
                         94,  95,  96,  97,  127, 128, 129, 159, 160,  511, 512,
                         513, 543, 544, 545, 606, 607, 608, 609, 1055, 1056};
  const int page_sizes[] = {16, 32, 64, 128, 48};
  const Type types[] = {Type::kBf16, Type::kFp16};
  int i = 0;
  for (const int kv_len : lengths) {
    Case c;
    c.type = types[i % 2];
    c.page_size = page_sizes[i % 5];
    c.kv_heads = 1 + i % 2;
    c.q_heads = c.kv_heads * (i % 3 == 0 ? 1 : 2);
    check_trees(c, {Tree(c, kv_len, random_tree(3, 3, random), random)}, random);
    ++i;
  }
}

TEST(every_width_and_group_is_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const int head_dim : {64, 128, 256}) {
    for (const int group : {1, 4, 8}) {
      for (const int nodes : {1, 5}) {
        Case c;
        c.type = group == 4 ? Type::kFp16 : Type::kBf16;
        c.head_dim = head_dim;
        c.q_heads = group;
        check_trees(c, {Tree(c, 130, chain(nodes), random)}, random);
      }
    }
  }
  // More query heads than a block has pairs, and a number of them that nothing divides.
  Case c;
  c.head_dim = 256;
  c.q_heads = 70;
  check_trees(c, {Tree(c, 70, chain(1), random)}, random);
  c.head_dim = 64;
  c.q_heads = 21;
  c.kv_heads = 3;
  check_trees(c, {Tree(c, 100, star(3), random)}, random);
}

TEST(chains_stars_and_256_nodes_are_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  Case c;
  c.q_heads = 1;
  check_trees(c, {Tree(c, 0, chain(256), random)}, random, 13);
  check_trees(c, {Tree(c, 40, chain(130), random)}, random, 7);
  check_trees(c, {Tree(c, 100, star(256), random)}, random, 13);
  check_trees(c, {Tree(c, 60, random_tree(256, 256, random), random)}, random, 13);
  check_trees(c, {Tree(c, 60, random_tree(256, 3, random), random)}, random, 13);
}

TEST(unequal_sequences_are_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  Case c;
  c.page_size = 32;
  check_trees(
      c,
      {Tree(c, 0, chain(1), random), Tree(c, 600, random_tree(9, 9, random), random),
       Tree(c, 97, star(4), random), Tree(c, 1, random_tree(20, 4, random), random)},
      random);
  // One node of each of many sequences.
  std::vector<Tree> trees;
  for (int i = 0; i < 20; ++i) trees.emplace_back(c, i * 11, chain(1), random);
  check_trees(c, trees, random);
}

TEST(windows_and_caps_are_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const int window : {1, 2, 31, 33, 64, 96, 97, 150, 200, 1000}) {
    for (const float soft_cap : {0.0f, 2.5f}) {
      Case c;
      c.window = window;
      c.soft_cap = soft_cap;
      c.page_size = 32;
      c.type = soft_cap > 0 ? Type::kFp16 : Type::kBf16;
      check_trees(
          c, {Tree(c, 250, random_tree(5, 2, random), random), Tree(c, 20, chain(3), random)},
          random);
    }
  }
  Case c;
  c.window = 70;
  c.soft_cap = 30;
  check_trees(c, {Tree(c, 590, chain(40), random)}, random, 3);
  std::printf("  largest error: %.2f of the bound\n", worst_of_bound);
}

TEST(fp32_and_other_widths_go_key_by_key_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kFp32, Type::kBf16, Type::kFp16}) {
    for (const int head_dim : {2, 20, 64, 80, 256}) {
      if (type != Type::kFp32 && head_dim % 64 == 0) continue;
      for (const int window : {0, 33}) {
        Case c;
        c.type = type;
        c.head_dim = head_dim;
        c.q_heads = 5;
        c.window = window;
        check_trees(
            c, {Tree(c, head_dim == 20 ? 530 : 40, random_tree(3, 3, random), random)}, random);
      }
    }
  }
}

TEST(a_cache_at_any_address_is_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kFp32, Type::kBf16}) {
    Case c;
    c.type = type;
    const std::vector<Tree> trees = {Tree(c, 70, chain(2), random)};
    check_all_rows(c, trees, run(c, trees, all_rows(trees), random, 1), "an odd address");
  }
}

TEST(equal_keys_give_the_mean_of_the_visible_values) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kBf16, Type::kFp16, Type::kFp32}) {
    for (const int kv_len : {0, 95, 96, 127, 128, 560, 700}) {
      for (const int window : {0, 100}) {
        Case c;
        c.type = type;
        c.window = window;
        std::vector<Tree> trees = {Tree(c, kv_len, random_tree(6, 2, random), random)};
        Tree& t = trees[0];
        // All of a node's scores are -1024, 0 or 1024: without the largest subtracted their weights would be 0 or infinite.
        std::fill(t.k.begin(), t.k.end(), 0.0f);
        for (size_t key = 0; key < t.k.size(); key += c.kv_dim()) t.k[key] = 1;
        for (int i = 0; i < t.nodes() * c.q_heads; ++i)
          t.q[i * c.head_dim] = static_cast<float>(i / c.q_heads % 3 - 1) * 8192;
        for (float& value : t.v) value = static_cast<float>(random() % 17) - 8;
        const Floats out = run(c, trees, random);
        for (int node = 0; node < t.nodes(); ++node) {
          const Ints keys = t.keys_of(node, window);
          for (int d = 0; d < c.head_dim; ++d) {
            float sum = 0;
            for (const int key : keys) sum += t.v[key * c.kv_dim() + d];
            const float mean = sum / static_cast<float>(keys.size());
            CHECK_MSG(
                out[node * c.row_len() + d] == mean, "kv_len %d, window %d, node %d: %g, mean %g",
                kv_len, window, node, out[node * c.row_len() + d], mean);
          }
        }
      }
    }
  }
}

TEST(a_context_that_ends_in_the_first_tile_of_a_long_split_is_seen_whole) {
  // From position 8192 on splits are longer than 512; here the last tile is the first of the first of them.
  Random random(static_cast<uint32_t>(check::seed()));
  Case c;
  c.q_heads = 1;
  std::vector<Tree> trees = {Tree(c, 8192 + 64 + 40, chain(1), random)};
  Tree& t = trees[0];
  std::fill(t.k.begin(), t.k.end(), 0.0f);
  std::fill(t.v.begin(), t.v.end(), 0.0f);
  for (int p = 8192; p < 8256; ++p) t.v[p * c.kv_dim() + p % c.head_dim] = 1;
  const Floats out = run(c, trees, random);
  const float want = 1.0f / static_cast<float>(t.kv_len + 1);
  for (int d = 0; d < c.head_dim; ++d) CHECK_EQ(out[d], want);
}

TEST(keys_with_a_score_of_minus_infinity_have_no_weight) {
  // All keys of the first tile, all of the first 32 of the tail, and some between.
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kBf16, Type::kFp32}) {
    Case c;
    c.type = type;
    const auto gone = [](int key) { return key < 96 || key == 120; };
    check_gone_keys(c, Tree(c, 150, chain(3), random), gone, random);
  }
}

TEST(a_node_has_the_bits_of_the_same_token_decoded_alone) {
  Random random(static_cast<uint32_t>(check::seed()));
  // Prefixes on both sides of tile and split edges, for nodes in front of, at and behind them.
  const int lengths[] = {0, 1, 30, 33, 62, 63, 64, 90, 95, 96, 127, 128, 500, 511, 512, 540, 607};
  int i = 0;
  for (const int rows : {1, 2, 7, 8, 9, 16, 33, 64}) {
    for (int j = 0; j < 3; ++j) {
      Case c;
      c.page_size = 16 << i % 4;
      c.type = i % 2 == 0 ? Type::kBf16 : Type::kFp16;
      c.q_heads = i % 3 == 0 ? 1 : 4;
      c.window = i % 5 == 4 ? 100 : 0;
      const int kv_len = lengths[i++ % 17];
      const std::vector<Tree> trees = {
          Tree(c, kv_len, random_tree(rows, j == 0 ? 64 : 2, random), random)};
      const Floats whole = run(c, trees, random);
      for (const int node : {0, rows / 2, rows - 1}) {
        const std::vector<Tree> alone = {trees[0].as_chain(c, node, 1)};
        CHECK_MSG(
            same_bits(run(c, alone, random).data(), &whole[node * c.row_len()], c.row_len()),
            "node %d of %d, kv_len %d, depth %zu, %d heads, window %d", node, rows, kv_len,
            trees[0].path(node).size() - 1, c.q_heads, c.window);
      }
    }
  }
}

TEST(a_deep_tree_has_the_bits_of_plain_decoding) {
  Random random(static_cast<uint32_t>(check::seed()));
  // Chains and bushes so deep that tiles reach into the tree, some of whose paths differ there.
  for (const int head_dim : {64, 256}) {
    for (const int children_of : {1, 2, 4}) {
      Case c;
      c.head_dim = head_dim;
      c.q_heads = 2;
      const int nodes = head_dim == 64 ? 200 : 120;
      const std::vector<Tree> trees = {
          Tree(c, 37, random_tree(nodes, children_of, random), random)};
      const Floats whole = run(c, trees, random);
      for (const int node : {nodes - 1, nodes - 2, nodes - 40}) {
        const int depth = static_cast<int>(trees[0].path(node).size()) - 1;
        for (const int part : {1, depth / 2 + 1, depth + 1}) {
          const std::vector<Tree> other = {trees[0].as_chain(c, node, part)};
          const Floats out =
              run(c, other, {{0, part - 1}}, random);  // its other rows have no queries
          CHECK_MSG(
              same_bits(out.data(), &whole[node * c.row_len()], c.row_len()),
              "head_dim %d, node %d at depth %d, as the end of a chain of %d", head_dim, node,
              depth, part);
        }
      }
    }
  }
}

TEST(neither_other_rows_nor_places_nor_order_change_a_bit) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kBf16, Type::kFp32}) {
    Case c;
    c.type = type;
    c.kv_heads = 2;
    c.q_heads = 8;
    const int kv_len = type == Type::kFp32 ? 530 : 577;
    const std::vector<Tree> trees = {
        Tree(c, 70, chain(3), random), Tree(c, kv_len, random_tree(17, 5, random), random),
        Tree(c, 5, star(2), random)};
    const auto rows = all_rows(trees);
    simt::emulated::set_order(simt::emulated::Order::kForward);
    const Floats want = run(c, trees, random);
    const auto check_rows = [&](const std::vector<Row>& some, const char* what) {
      const Floats got = run(c, trees, some, random);
      for (size_t r = 0; r < some.size(); ++r) {
        size_t at = 0;
        while (at < rows.size() && (rows[at].tree != some[r].tree || rows[at].node != some[r].node))
          ++at;
        if (at == rows.size()) continue;
        CHECK_MSG(
            same_bits(&got[r * c.row_len()], &want[at * c.row_len()], c.row_len()),
            "%s, %zu rows, node %d of tree %d, type %s", what, some.size(), some[r].node,
            some[r].tree, type_name(type));
      }
    };
    for_each_order([&](const char* order) { check_rows(rows, order); });
    auto shuffled = rows;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    check_rows(shuffled, "rows in another order");
    for (const int num : {1, 2, 7, 8, 9, 16}) {
      check_rows({shuffled.begin(), shuffled.begin() + num}, "some rows");
      check_rows({rows.end() - num, rows.end()}, "the last rows");
    }
    auto padded = rows;
    padded.insert(padded.begin() + 5, 3, Row{-1, 0});
    padded.resize(32, Row{-1, 0});
    check_rows(padded, "padded");
  }
}

TEST(rows_without_a_sequence_are_not_written) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kBf16, Type::kFp32}) {
    Case c;
    c.type = type;
    const std::vector<Tree> trees = {Tree(c, 120, chain(1), random)};
    const Floats out = run(c, trees, {{-1, 0}, {0, 0}, {-1, 0}}, random);
    for (int i = 0; i < c.row_len(); ++i) {
      // An output that nobody wrote holds 0xff in each byte.
      CHECK(std::isnan(out[i]) && std::isnan(out[2 * c.row_len() + i]));
      CHECK(std::isfinite(out[c.row_len() + i]));
    }
  }
}

TEST(nan_and_infinity_reach_only_the_rows_that_see_them) {
  Random random(static_cast<uint32_t>(check::seed()));
  // Two paths of 45 nodes that part in the middle of a tile: each has a pass of its own.
  Ints fork = chain(98);
  fork[53] = 8;
  check_bad_keys(Type::kBf16, 0, 50, fork, {7, 55, 59, 70, 104, 120}, random);
  // Two that differ in the last slot of a tile, and two that begin in a tile's last slot: it is all they have there.
  fork = chain(93);
  fork[53] = 12;
  check_bad_keys(Type::kBf16, 0, 50, fork, {63, 103}, random);
  Ints roots;
  for (int node = 0; node < 80; ++node) roots.push_back(std::max(node - 2, -1));
  check_bad_keys(Type::kBf16, 0, 63, roots, {63, 64}, random);
  // In front of a window, at its edge, in tiles, in the tail.
  check_bad_keys(Type::kFp16, 150, 250, chain(12), {100, 105, 130, 190, 230, 255}, random);
  // In a tile that some rows of a block have and others, whose window begins behind it, do not.
  check_bad_keys(Type::kFp16, 150, 250, chain(80), {130}, random);
  check_bad_keys(Type::kFp32, 0, 530, star(3), {7, 529, 531}, random);
}

TEST(offsets_beyond_2_to_31_elements) {
  // A cache of which only the last slot is used: 128 positions of pages in front of it, then a node.
  constexpr int kPage = 16, kDim = 64, kHeads = 2, kPages = (1 << 20) + 9;
  using espalier::Bf16;
  const auto k = Buffer<Bf16>::sparse("k_cache", size_t{kPages} * kPage * kHeads * kDim);
  const auto v = Buffer<Bf16>::sparse("v_cache", size_t{kPages} * kPage * kHeads * kDim);
  Ints pages;
  for (int i = 0; i < 8; ++i) pages.push_back(kPages - 1 - i);
  const int32_t node = (kPages - 9) * kPage;
  const auto slot_of = [&](int position) {
    return position == 128 ? node : pages[position / kPage] * kPage + position % kPage;
  };
  double mean[kDim] = {};
  for (int position = 0; position < 129; ++position) {
    for (int d = 0; d < kDim; ++d) {
      const float value = static_cast<float>((position * 7 + d) % 13);
      v.data()[(int64_t{slot_of(position)} * kHeads + 1) * kDim + d] = stored<Bf16>(value);
      mean[d] += value / 129;
    }
  }
  const auto table = Buffer<int32_t>::input("page_table", pages),
             len = Buffer<int32_t>::input("kv_len", {128}),
             seq = Buffer<int32_t>::input("row_seq", {0}),
             depth = Buffer<int32_t>::input("depth", {0}),
             ancestor = Buffer<int32_t>::input("ancestor_slot", {node});
  const auto q = Buffer<float>::input("q", Floats(kHeads * kDim, 1.0f));
  const auto out = Buffer<float>::output("out", kHeads * kDim);
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
  args.rows = args.batch = args.max_depth = 1;
  args.max_pages = 8;
  args.num_pages = kPages;
  args.page_size = kPage;
  args.num_q_heads = args.num_kv_heads = kHeads;
  args.head_dim = kDim;
  const auto workspace = Buffer<simt::Vec<float, 4>>::output(
      "workspace", espalier::tree_attention_workspace_bytes(args) / 16 + 1);
  espalier::cuda_tree_attention(args, workspace.data(), nullptr);
  for (int d = 0; d < kDim; ++d) {
    CHECK_EQ(out.data()[d], 0.0f);
    CHECK_MSG(
        std::fabs(out.data()[kDim + d] - mean[d]) < 1e-5, "dimension %d: %g, mean %g", d,
        out.data()[kDim + d], mean[d]);
  }
}
