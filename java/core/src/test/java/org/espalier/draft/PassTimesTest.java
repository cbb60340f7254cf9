package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a process leaves to the next one about the times of passes. */
class PassTimesTest {
  private static final String KEY = "version 1; a model; a device; threads 2";

  @TempDir Path dir;

  private Path file() {
    return dir.resolve("pass-times").resolve("a.json");
  }

  private PassTimes times() {
    return new PassTimes(file(), KEY);
  }

  private static String warnings(Runnable task) {
    PrintStream before = System.err;
    ByteArrayOutputStream caught = new ByteArrayOutputStream();
    System.setErr(new PrintStream(caught, true, StandardCharsets.UTF_8));
    try {
      task.run();
    } finally {
      System.setErr(before);
    }
    return caught.toString(StandardCharsets.UTF_8);
  }

  @Test
  void whatWasLearnedIsThereAgain() throws IOException {
    PassTimes times = times();
    assertThat(times.curve().largest()).isZero();
    times.curve().observe(1, 4e5);
    times.curve().observe(4, 9e5);
    times.save();
    TimeCurve again = times().curve();
    assertThat(again.at(1)).isEqualTo(4e5);
    assertThat(again.at(4)).isEqualTo(9e5);
    assertThat(again.largest()).isEqualTo(4);
    try (Stream<Path> files = Files.list(file().getParent())) {
      assertThat(files).as("no parts are left").containsExactly(file());
    }
  }

  /** Two processes at once: neither drops what only the other one knows. */
  @Test
  void sizesOfAnotherProcessStay() {
    PassTimes one = times();
    PassTimes other = times();
    one.curve().observe(1, 4e5);
    other.curve().observe(2, 6e5);
    one.save();
    other.save();
    assertThat(times().curve().at(1)).isEqualTo(4e5);
    assertThat(times().curve().at(2)).isEqualTo(6e5);
  }

  @Test
  void whatIsNoNewsIsNotWritten() throws IOException {
    PassTimes times = times();
    times.curve().observe(1, 4e5);
    times.save();
    Files.delete(file());
    times.curve().observe(1, 3.9e5);
    times.save();
    assertThat(file()).doesNotExist();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "{",
        "[]",
        "{\"key\":\"another model\",\"nanos\":{\"1\":5}}",
        "{\"key\":\"KEY\",\"nanos\":{\"1\":-5}}",
        "{\"key\":\"KEY\",\"nanos\":{\"1\":1e300}}",
        "{\"key\":\"KEY\",\"nanos\":{\"1\":\"fast\"}}",
        "{\"key\":\"KEY\",\"nanos\":{\"5\":5}}",
        "{\"key\":\"KEY\",\"nanos\":{\"x\":5}}"
      })
  void aFileThatIsBrokenOrStaleIsBegunAnewWithAWarning(String text) throws IOException {
    Files.createDirectories(file().getParent());
    Files.writeString(file(), text.replace("KEY", KEY));
    PassTimes[] times = new PassTimes[1];
    String warnings = warnings(() -> times[0] = times());
    assertThat(warnings).contains("WARN").contains("a.json").contains("measured anew");
    assertThat(times[0].curve().largest()).isZero();
    times[0].curve().observe(1, 4e5);
    assertThat(warnings(times[0]::save)).as("said once").isEmpty();
    assertThat(warnings(() -> assertThat(times().curve().at(1)).isEqualTo(4e5))).isEmpty();
  }

  /** Somebody put a file where the folder should be: a warning, nothing worse. */
  @Test
  void whereNothingCanBeWrittenThereIsAWarning() throws IOException {
    Files.writeString(dir.resolve("pass-times"), "");
    PassTimes times = times();
    times.curve().observe(1, 4e5);
    assertThat(warnings(times::save)).contains("WARN").contains("cannot be written");
  }

  @Test
  void timesLieOnALineBetweenSizes() {
    TimeCurve curve = new TimeCurve();
    assertThat(curve.at(7)).isZero();
    curve.begin(TimeCurve.indexOf(1), 10);
    assertThat(curve.at(3)).as("in proportion, when there is one").isEqualTo(30);
    curve.begin(TimeCurve.indexOf(4), 16);
    assertThat(curve.at(2)).isEqualTo(12);
    assertThat(curve.at(6)).isEqualTo(20);
    assertThat(curve.largest()).isEqualTo(4);
  }

  /** A busy machine slows all sizes down, not only the one that is measured. */
  @Test
  void aSlowSpellDoesNotSpeakAgainstTheSizeInUse() {
    TimeCurve curve = new TimeCurve();
    curve.begin(TimeCurve.indexOf(1), 100);
    curve.begin(TimeCurve.indexOf(4), 200);
    for (int i = 0; i < 200; i++) {
      curve.observe(1, 100);
    }
    for (int i = 0; i < 200; i++) {
      curve.observe(1, 150);
    }
    assertThat(curve.at(1)).isBetween(149.0, 151.0);
    assertThat(curve.at(4) / curve.at(1)).isBetween(1.9, 2.0);
    for (int i = 0; i < 200; i++) {
      curve.observe(1, 100);
    }
    assertThat(curve.at(4) / curve.at(1)).isBetween(1.95, 2.05);
  }

  /** What is wrong in a file is not so for ever. */
  @Test
  void aShapeIsLearnedFromMeasurementsInTurns() {
    TimeCurve curve = new TimeCurve();
    curve.begin(TimeCurve.indexOf(1), 100);
    curve.begin(TimeCurve.indexOf(4), 300);
    for (int i = 0; i < 250; i++) {
      curve.observe(1, 100);
      curve.observe(4, 200);
    }
    assertThat(curve.at(1)).isBetween(97.0, 103.0);
    assertThat(curve.at(4)).isBetween(195.0, 205.0);
  }

  /** A few steps of a size between many of another one tell how the two compare. */
  @Test
  void trialsCorrectTheShape() {
    TimeCurve curve = new TimeCurve();
    curve.begin(TimeCurve.indexOf(1), 100);
    curve.begin(TimeCurve.indexOf(4), 300);
    for (int i = 0; i < 300; i++) {
      curve.observe(1, 50);
      if (i % 10 == 0) {
        curve.beginTrial();
        curve.observeInTrial(4, 100);
        curve.endTrial(false);
      }
    }
    assertThat(curve.at(1)).isBetween(49.0, 51.0);
    assertThat(curve.at(4)).isBetween(97.0, 110.0);
  }

  /**
   * However many passes a trial has: what else the machine did meanwhile, it did in all of them.
   */
  @Test
  void aTrialIsOneMeasurement() {
    TimeCurve curve = new TimeCurve();
    curve.begin(TimeCurve.indexOf(1), 100);
    curve.begin(TimeCurve.indexOf(4), 120);
    for (int i = 0; i < 30; i++) {
      curve.observeInTrial(4, 240);
    }
    curve.endTrial(false);
    for (int i = 0; i < 10; i++) {
      curve.observe(1, 100);
    }
    assertThat(curve.at(4) / curve.at(1)).isBetween(1.21, 1.3);
  }

  /** The machine became slow during a trial, and is so after it: it was not the size. */
  @Test
  void aTrialDuringWhichTheMachineChangesSaysNothing() {
    TimeCurve curve = new TimeCurve();
    curve.begin(TimeCurve.indexOf(1), 100);
    curve.begin(TimeCurve.indexOf(4), 120);
    for (int i = 0; i < 10; i++) {
      curve.observe(1, 100);
    }
    for (int i = 0; i < 8; i++) {
      curve.observeInTrial(4, 300);
    }
    curve.endTrial(false);
    double before = curve.at(4) / curve.at(1);
    for (int i = 0; i < 3; i++) {
      curve.observe(1, 250);
    }
    assertThat(curve.at(4) / curve.at(1)).isLessThanOrEqualTo(before);
  }

  /** While one size alone is measured, a slow spell is the machine's, from the first step on. */
  @Test
  void aSlowSpellIsNotASize() {
    TimeCurve curve = new TimeCurve();
    curve.begin(TimeCurve.indexOf(1), 100);
    curve.begin(TimeCurve.indexOf(4), 120);
    for (int i = 0; i < 60; i++) {
      curve.observe(4, 360);
    }
    assertThat(curve.at(4)).isBetween(342.0, 378.0);
    assertThat(curve.at(4) / curve.at(1)).isLessThan(1.35);
  }

  @Test
  void sizesBoundEachOther() {
    TimeCurve curve = new TimeCurve();
    for (int size : new int[] {1, 2, 4, 8, 16}) {
      curve.begin(TimeCurve.indexOf(size), 100 * size);
    }
    for (int i = 0; i < 1000; i++) {
      curve.observe(4, 200);
    }
    double level = curve.at(4) / 200;
    assertThat(curve.at(2)).as("no more than a pass of 4").isLessThanOrEqualTo(200.1 * level);
    assertThat(curve.at(8)).as("no more than two").isLessThanOrEqualTo(400.1 * level);
    assertThat(curve.at(16)).as("no more than four").isLessThanOrEqualTo(800.1 * level);
  }

  /** One pass during which another process had the processor. */
  @Test
  void anOutlierHardlyCounts() {
    TimeCurve curve = new TimeCurve();
    curve.begin(TimeCurve.indexOf(1), 100);
    curve.observe(1, 1e6);
    assertThat(curve.at(1)).isLessThan(103);
  }
}
