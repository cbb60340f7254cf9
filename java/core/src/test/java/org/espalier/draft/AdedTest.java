package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.zip.CRC32;
import org.espalier.DraftTree;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The numbers of the method's toy examples, and the table's file. */
class AdedTest {
  private static final int VOCAB = 100;
  private static final float C1 = 32;
  private static final float C2 = 8;

  @TempDir private Path dir;

  private static TriGramTable toy() {
    return TriGramTable.count(VOCAB, List.of(new int[] {1, 2, 3, 1, 2, 4, 1, 2, 3}));
  }

  private static DraftTree search(TriGramTable table, int a, int b, int maxNodes, int maxDepth) {
    TriGramSearch search = new TriGramSearch(table, 150, 24, C1, C2);
    search.search(a, b, 1);
    DraftTree tree = DraftTree.rootedAt(b);
    search.draft(tree, maxNodes, maxDepth);
    return tree;
  }

  @Test
  void weightsOfACorpusAreShares() {
    TriGramTable table = toy();
    assertThat(table.weight(1, 2, 3)).isCloseTo(2f / 3, within(1e-6f));
    assertThat(table.weight(1, 2, 4)).isCloseTo(1f / 3, within(1e-6f));
    assertThat(table.weight(2, 3, 1)).isEqualTo(1);
    assertThat(table.weight(3, 1, 2)).isEqualTo(1);
    assertThat(table.weight(2, 4, 1)).isEqualTo(1);
    assertThat(table.weight(4, 1, 2)).isEqualTo(1);
    assertThat(table.weight(4, 1, 3)).isZero();
    assertThat(table.numPairs()).isEqualTo(5);
    assertThat(TriGramTable.count(VOCAB, List.of(new int[] {1, 2})).numPairs()).isZero();
  }

  @Test
  void twelveOfThirteenSuccessorsStay() {
    int[] document = new int[3 * 14];
    for (int i = 0; i < 14; i++) {
      document[3 * i] = 1;
      document[3 * i + 1] = 2;
      document[3 * i + 2] = 10 + Math.min(i, 12); // the last one twice
    }
    TriGramTable table = TriGramTable.count(VOCAB, List.of(document));
    int row = table.find(TriGramTable.pair(1, 2));
    assertThat(table.len(row)).isEqualTo(12);
    assertThat(table.token(row, 0)).isEqualTo(22);
    assertThat(table.weight(row, 0)).isCloseTo(2f / 14, within(1e-6f));
    assertThat(table.token(row, 11)).isEqualTo(20);
  }

  @Test
  void learningAddsUpToACap() {
    TriGramTable table = TriGramTable.over(toy());
    table.bump(TriGramTable.pair(2, 3), 1, 0.04f, 3);
    assertThat(table.weight(2, 3, 1)).isEqualTo(1.04f);
    table.bump(TriGramTable.pair(2, 3), 1, 1.94f, 3);
    assertThat(table.weight(2, 3, 1)).isCloseTo(2.98f, within(1e-6f));
    table.bump(TriGramTable.pair(2, 3), 1, 0.04f, 3);
    assertThat(table.weight(2, 3, 1)).isEqualTo(3);
    table.bump(TriGramTable.pair(9, 9), 7, 0.04f, 3);
    assertThat(table.weight(9, 9, 7)).isEqualTo(0.04f);
    // The table below is as it was; what was not changed is read through.
    assertThat(toy().weight(2, 3, 1)).isEqualTo(1);
    assertThat(table.weight(4, 1, 2)).isEqualTo(1);
  }

  @Test
  void sharedTableIsNotWritten() {
    TriGramTable base = toy();
    TriGramTable one = TriGramTable.over(base);
    one.bump(TriGramTable.pair(1, 2), 4, 1, 3);
    assertThat(one.token(one.find(TriGramTable.pair(1, 2)), 0)).isEqualTo(4);
    assertThat(base.token(base.find(TriGramTable.pair(1, 2)), 0)).isEqualTo(3);
    assertThat(TriGramTable.over(base).weight(1, 2, 4)).isEqualTo(1f / 3);
  }

  /** Rows keep their order whatever is learned, and the lightest makes room. */
  @Test
  void successorsStayInOrder() {
    Random random = new Random(5);
    TriGramTable table = TriGramTable.empty(VOCAB);
    for (int i = 0; i < 20_000; i++) {
      table.bump(
          TriGramTable.pair(random.nextInt(10), random.nextInt(30)), random.nextInt(60), 0.04f, 3);
    }
    assertThat(table.numPairs()).isEqualTo(300);
    for (int row = 0; row < table.numPairs(); row++) {
      assertThat(table.len(row)).isBetween(20, TriGramTable.MAX_SUCCESSORS);
      assertThat(table.find(table.pairOf(row))).isEqualTo(row);
      for (int i = 1; i < table.len(row); i++) {
        float before = table.weight(row, i - 1);
        assertThat(table.weight(row, i)).isLessThanOrEqualTo(before);
        if (table.weight(row, i) == before) {
          assertThat(table.token(row, i)).isGreaterThan(table.token(row, i - 1));
        }
      }
    }
  }

  /** Of 20 tokens the last 16 hold 14 triples, of 3 tokens one, of fewer none. */
  @Test
  void windowHasFourteenTriples() {
    int[] tokens = new int[20];
    Arrays.setAll(tokens, i -> i);
    TriGramTable table = TriGramTable.empty(VOCAB);
    Aded.learn(table, new ListContext(64, 64, tokens), 4);
    assertThat(table.numPairs()).isEqualTo(14);
    assertThat(table.weight(3, 4, 5)).isZero();
    assertThat(table.weight(4, 5, 6)).isEqualTo(0.04f);
    assertThat(table.weight(17, 18, 19)).isEqualTo(0.04f);
    TriGramTable few = TriGramTable.empty(VOCAB);
    Aded.learn(few, new ListContext(64, 64, 1, 2), 0);
    Aded.learn(few, new ListContext(64, 64, 1), 0);
    assertThat(few.numPairs()).isZero();
    Aded.learn(few, new ListContext(64, 64, 1, 2, 3), 0);
    assertThat(few.numPairs()).isEqualTo(1);
    // One token is no pair to search from.
    assertThat(new Aded(few, 150, 24).propose(new ListContext(64, 64, 1)).size()).isEqualTo(1);
  }

  @Test
  void drafterLearnsThePromptAndThenItsWindow() {
    int[] tokens = new int[40];
    Arrays.setAll(tokens, i -> i);
    Aded drafter = new Aded(TriGramTable.empty(VOCAB), 150, 24);
    TriGramTable table = drafter.learned();
    drafter.propose(new ListContext(64, 64, tokens));
    assertThat(table.weight(0, 1, 2)).isEqualTo(0.04f);
    drafter.propose(new ListContext(64, 64, tokens)); // the same text again is nothing new
    assertThat(table.weight(37, 38, 39)).isEqualTo(0.04f);
    int[] longer = Arrays.copyOf(tokens, 41);
    drafter.propose(new ListContext(64, 64, longer));
    assertThat(table.weight(24, 25, 26)).isEqualTo(0.04f);
    assertThat(table.weight(25, 26, 27)).isEqualTo(0.08f);
  }

  @Test
  void puctOfTheToy() {
    TriGramSearch search = new TriGramSearch(toy(), 150, 24, C1, C2);
    assertThat(search.puct(2, 1, 1.9f, 0.6f)).isCloseTo(15.612f, within(1e-3f));
    assertThat(search.puct(2, 1, 1.5f, 0.3f)).isCloseTo(8.356f, within(1e-3f));
    assertThat(search.puct(3, 2, 3.8f, 0.6f)).isCloseTo(13.126f, within(1e-3f));
    assertThat(search.puct(3, 1, 1.5f, 0.3f)).isCloseTo(9.919f, within(1e-3f));
  }

  /** Path (1, 2), 3, 5 with weights 0.6 and 1: reward 2.6. */
  @Test
  void rewardIsOnePlusTheWeightsOfThePath() {
    TriGramTable table = TriGramTable.empty(VOCAB);
    table.bump(TriGramTable.pair(1, 2), 3, 0.6f, 3);
    table.bump(TriGramTable.pair(2, 3), 5, 1, 3);
    TriGramSearch search = new TriGramSearch(table, 1, 24, C1, C2);
    search.search(1, 2, 1);
    assertThat(search.rootScore()).isCloseTo(2.6f, within(1e-6f));
  }

  /**
   * The toy's two children, A with .6 and a reward of 1.9, B with .3 and 1.5: each once, then
   * 15.612 against 8.356 and 13.126 against 9.919, so twice A again.
   */
  @Test
  void largerPuctIsVisitedAgain() {
    TriGramTable table = TriGramTable.empty(VOCAB);
    table.bump(TriGramTable.pair(1, 2), 3, 0.6f, 3);
    table.bump(TriGramTable.pair(2, 3), 5, 0.3f, 3);
    table.bump(TriGramTable.pair(1, 2), 4, 0.3f, 3);
    table.bump(TriGramTable.pair(2, 4), 5, 0.2f, 3);
    int[][] visits = {{1, 1}, {2, 1}, {3, 1}};
    for (int iterations = 2; iterations <= 4; iterations++) {
      TriGramSearch search = new TriGramSearch(table, iterations, 24, C1, C2);
      search.search(1, 2, 1);
      assertThat(search.rootVisits()).containsExactly(visits[iterations - 2]);
      double score = 1.9 * (iterations - 1) + 1.5;
      assertThat(search.rootScore()).isCloseTo((float) score, within(1e-5f));
    }
  }

  /** What a rollout draws it draws by weight: .75 and .25, so 1 + 1 + .75^2 + .25^2 on average. */
  @Test
  void rolloutsDrawByWeight() {
    TriGramTable table = TriGramTable.empty(VOCAB);
    table.bump(TriGramTable.pair(1, 2), 3, 1, 3);
    table.bump(TriGramTable.pair(2, 3), 4, .75f, 3);
    table.bump(TriGramTable.pair(2, 3), 5, .25f, 3);
    TriGramSearch search = new TriGramSearch(table, 1, 24, C1, C2);
    double sum = 0;
    for (int seed = 1; seed <= 4000; seed++) {
      search.search(1, 2, seed);
      sum += search.rootScore();
    }
    assertThat(sum / 4000).isCloseTo(2.625, within(0.02)); // five standard errors
  }

  /** Each child is seen once before one is seen again; then the weights decide. */
  @Test
  void visitsFollowTheWeights() {
    TriGramTable table = TriGramTable.empty(VOCAB);
    table.bump(TriGramTable.pair(1, 2), 3, 0.6f, 3);
    table.bump(TriGramTable.pair(1, 2), 4, 0.3f, 3);
    table.bump(TriGramTable.pair(1, 2), 5, 0.1f, 3);
    TriGramSearch three = new TriGramSearch(table, 3, 24, C1, C2);
    three.search(1, 2, 1);
    assertThat(three.rootVisits()).containsExactly(1, 1, 1);
    TriGramSearch many = new TriGramSearch(table, 100, 24, C1, C2);
    many.search(1, 2, 1);
    assertThat(many.rootVisits()[0]).isBetween(50, 70);
    assertThat(many.rootVisits()[1]).isBetween(25, 38);
  }

  /** With one successor for every pair the draft is that chain: three tokens and one more. */
  @Test
  void chainOfFour() {
    TriGramTable table = TriGramTable.empty(VOCAB);
    int[] chain = {10, 11, 12, 13, 14, 15, 16, 17};
    Aded.learn(table, new ListContext(64, 64, chain), 0);
    DraftTree tree = search(table, 10, 11, 64, 64);
    assertThat(Trees.tokens(tree)).containsExactly(11, 12, 13, 14, 15);
    assertThat(Trees.parents(tree)).containsExactly(-1, 0, 1, 2, 3);
    assertThat(search(table, 10, 11, 64, 2).size()).isEqualTo(3);
    assertThat(search(table, 10, 11, 1, 64).size()).isEqualTo(2);
    assertThat(search(table, 50, 51, 64, 64).size()).isEqualTo(1);
  }

  /** Whatever the table: no more than the budget, a parent before its child, siblings differ. */
  @Test
  void treesKeepToTheirBudgetAndRepeat() {
    Random random = new Random(9);
    TriGramTable table = TriGramTable.empty(VOCAB);
    for (int i = 0; i < 5000; i++) {
      table.bump(
          TriGramTable.pair(random.nextInt(12), random.nextInt(12)), random.nextInt(12), 0.04f, 3);
    }
    int largest = 0;
    for (int i = 0; i < 200; i++) {
      int maxNodes = random.nextInt(70);
      int maxDepth = random.nextInt(6);
      int a = random.nextInt(12);
      int b = random.nextInt(12);
      DraftTree tree = search(table, a, b, maxNodes, maxDepth);
      assertThat(tree.size() - 1).isLessThanOrEqualTo(maxNodes);
      assertThat(tree.maxDepth()).isLessThanOrEqualTo(Math.min(maxDepth, 4));
      for (int node = 1; node < tree.size(); node++) {
        for (int other = 1; other < node; other++) {
          boolean twins =
              tree.parent(node) == tree.parent(other) && tree.token(node) == tree.token(other);
          assertThat(twins).as("%s", tree).isFalse();
        }
      }
      assertThat(search(table, a, b, maxNodes, maxDepth).toString()).isEqualTo(tree.toString());
      largest = Math.max(largest, tree.size());
    }
    assertThat(largest).isGreaterThan(24);
  }

  /** The budget of 64 nodes holds where there is room for more. */
  @Test
  void budgetIsSixtyFourNodes() {
    Random random = new Random(11);
    int[] text = random.ints(4000, 0, 12).toArray();
    Aded drafter = new Aded(TriGramTable.empty(VOCAB), 1000, 64);
    int largest = 0;
    for (int length = 3000; length < 3050; length++) {
      ListContext context = new ListContext(1000, 1000, Arrays.copyOf(text, length));
      largest = Math.max(largest, drafter.propose(context).size() - 1);
    }
    assertThat(largest).isEqualTo(64);
  }

  /** What several texts learned over one table is added, up to the cap and to so many pairs. */
  @Test
  void gainsOfSeveralTextsAreAdded() {
    TriGramTable base = toy();
    TriGramTable one = TriGramTable.over(base);
    one.bump(TriGramTable.pair(1, 2), 4, 0.5f, 3);
    one.bump(TriGramTable.pair(7, 8), 9, 0.04f, 3);
    TriGramTable two = TriGramTable.over(base);
    two.bump(TriGramTable.pair(1, 2), 4, 0.25f, 3);
    two.bump(TriGramTable.pair(2, 3), 1, 1.9f, 3);
    TriGramTable learned = TriGramTable.over(base);
    learned.learnFrom(one, 3, 2);
    learned.learnFrom(two, 3, 2);
    assertThat(learned.weight(1, 2, 4)).isCloseTo(1f / 3 + 0.75f, within(1e-6f));
    assertThat(learned.weight(1, 2, 3)).isCloseTo(2f / 3, within(1e-6f));
    assertThat(learned.weight(7, 8, 9)).isEqualTo(0.04f);
    assertThat(learned.numPairs()).isEqualTo(2);
    assertThat(learned.weight(2, 3, 1)).isEqualTo(1); // as in the table below: no room
    learned.learnFrom(two, 3, 3);
    learned.learnFrom(two, 3, 3);
    assertThat(learned.weight(2, 3, 1)).isEqualTo(3);
    assertThat(learned.weight(1, 2, 4)).isCloseTo(1f / 3 + 1.25f, within(1e-6f));
  }

  @Test
  void parametersAreChecked() {
    assertThatThrownBy(() -> Aded.factory((TriGramTable) null, 0, 24))
        .hasMessage("iterations = 0, expected 1 to 1000");
    assertThatThrownBy(() -> Aded.factory((TriGramTable) null, 150, 1))
        .hasMessage("sentences = 1, expected 2 to 64");
    assertThatThrownBy(() -> new TriGramSearch(toy(), 1, 2, 0, C2))
        .hasMessage("c1 = 0.0, c2 = 8.0, expected finite and above 0");
    assertThatThrownBy(() -> new TriGramSearch(toy(), 1, 2, C1, Float.NaN))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> TriGramTable.empty(0)).hasMessage("vocab = 0, expected at least 1");
    assertThatThrownBy(() -> TriGramTable.count(4, List.of(new int[] {1, 4, 2})))
        .hasMessage("token = 4, expected 0 to 3");
  }

  @Test
  void fileHoldsTheTableAndWhatWasLearnedOverIt() {
    Path file = dir.resolve("t.trigrams");
    TriGramTable table = TriGramTable.over(toy());
    table.bump(TriGramTable.pair(9, 9), 7, 0.04f, 3);
    table.bump(TriGramTable.pair(1, 2), 4, 1, 3);
    TriGramFile.save(table, file);
    TriGramTable loaded = TriGramFile.load(file);
    assertThat(loaded.vocab()).isEqualTo(VOCAB);
    assertThat(loaded.numPairs()).isEqualTo(6);
    assertThat(loaded.weight(9, 9, 7)).isEqualTo(0.04f);
    assertThat(loaded.weight(1, 2, 4)).isEqualTo(table.weight(1, 2, 4));
    assertThat(loaded.weight(2, 3, 1)).isEqualTo(1);
    TriGramFile.save(TriGramTable.empty(5), file);
    assertThat(TriGramFile.load(file).vocab()).isEqualTo(5);
    assertThat(dir.toFile().list()).containsExactly("t.trigrams");
  }

  /** Of a pair with many successors a text may have learned 32; the file gives 12 back. */
  @Test
  void twelveSuccessorsAreLoaded() {
    TriGramTable table = TriGramTable.empty(VOCAB);
    for (int c = 0; c < 50; c++) {
      table.bump(TriGramTable.pair(1, 2), c, c + 1, 100);
    }
    assertThat(table.len(table.find(TriGramTable.pair(1, 2)))).isEqualTo(32);
    Path file = dir.resolve("t");
    TriGramFile.save(table, file);
    TriGramTable loaded = TriGramFile.load(file);
    int row = loaded.find(TriGramTable.pair(1, 2));
    assertThat(loaded.len(row)).isEqualTo(12);
    assertThat(loaded.token(row, 0)).isEqualTo(49);
  }

  /** A byte changed anywhere, or a file cut anywhere, is found. */
  @Test
  void damageIsFound() throws IOException {
    Path file = dir.resolve("t");
    TriGramFile.save(toy(), file);
    byte[] good = Files.readAllBytes(file);
    for (int i = 0; i < good.length; i++) {
      byte[] bad = good.clone();
      bad[i] ^= 0x40;
      Files.write(file, bad);
      // The magic and the version say what it is; behind them is damage.
      Class<?> expected =
          i < 12 ? IllegalArgumentException.class : TriGramFile.CorruptException.class;
      assertThatThrownBy(() -> TriGramFile.load(file)).as("byte %d", i).isInstanceOf(expected);
      Files.write(file, Arrays.copyOf(good, i));
      assertThatThrownBy(() -> TriGramFile.load(file))
          .as("cut to %d bytes", i)
          .isInstanceOf(
              0 < i && i < 8 // perhaps the beginning of something else
                  ? IllegalArgumentException.class
                  : TriGramFile.CorruptException.class)
          .hasMessageContaining(file.toString());
    }
  }

  /** A right checksum over wrong content: NaN weights, order of keys, tokens, offsets. */
  @ParameterizedTest
  @ValueSource(
      strings = {"weight = NaN", "pair 1 = ", "token = 100", "offset 0 = 0", "vocab = 0", "pairs"})
  void contentIsChecked(String what) throws IOException {
    Path file = dir.resolve("t");
    TriGramFile.save(toy(), file);
    byte[] bytes = Files.readAllBytes(file);
    ByteBuffer edit = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    int keys = 24;
    int offsets = keys + 8 * 5;
    int tokens = offsets + 4 * 6;
    int weights = tokens + 4 * 6;
    switch (what) {
      case "weight = NaN" -> edit.putFloat(weights, Float.NaN);
      case "pair 1 = " -> edit.putLong(keys + 8, edit.getLong(keys));
      case "token = 100" -> edit.putInt(tokens + 4, 100);
      case "offset 0 = 0" -> edit.putInt(offsets + 4, 0);
      case "vocab = 0" -> edit.putInt(12, 0);
      default -> edit.putInt(16, -1);
    }
    CRC32 crc = new CRC32();
    crc.update(bytes, 0, bytes.length - 8);
    edit.putLong(bytes.length - 8, crc.getValue());
    Files.write(file, bytes);
    assertThatThrownBy(() -> TriGramFile.load(file))
        .isInstanceOf(TriGramFile.CorruptException.class)
        .hasMessageContaining(what);
  }

  @Test
  void somethingElseIsNotOverwritten() throws IOException {
    Path file = dir.resolve("notes.txt");
    Files.writeString(file, "my notes, not a table", StandardCharsets.UTF_8);
    assertThatThrownBy(() -> Aded.factory(file, 150, 24))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(file + " is not a tri-gram table, expected one");
    assertThat(Files.readString(file)).startsWith("my notes");
  }
}
