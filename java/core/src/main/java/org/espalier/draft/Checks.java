package org.espalier.draft;

/** Checks of parameters. */
final class Checks {
  private Checks() {}

  static int inRange(String what, int got, int least, int most) {
    if (got < least || got > most) {
      throw new IllegalArgumentException(
          what + " = " + got + ", expected " + least + " to " + most);
    }
    return got;
  }

  static double inRange(String what, double got, double least, double most) {
    if (!(got >= least && got <= most)) {
      throw new IllegalArgumentException(
          what + " = " + got + ", expected " + least + " to " + most);
    }
    return got;
  }
}
