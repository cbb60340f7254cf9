package org.espalier.cli;

import java.util.ArrayList;
import java.util.List;
import org.espalier.DrafterInfo;
import org.espalier.Drafters;
import org.espalier.Exactness;

/** Drafter specs: {@code name} or {@code name:key=value,...}. */
final class DrafterSpecs {
  private DrafterSpecs() {}

  /** Splits {@code a,b:k=v,k=v,c}: a piece {@code k=v} belongs to the spec before it. */
  static List<String> split(String text) {
    List<String> specs = new ArrayList<>();
    for (String piece : text.split(",", -1)) {
      if (piece.isBlank()) {
        throw new BadInputException("--drafters = " + text + ", expected names between the commas");
      }
      int last = specs.size() - 1;
      if (last >= 0 && isParameter(piece)) {
        specs.set(last, specs.get(last) + "," + piece.strip());
      } else {
        specs.add(piece.strip());
      }
    }
    return specs;
  }

  /** What the drafter of a spec promises with the exact verifier. */
  static Exactness exactness(String spec) {
    String name = spec.split(":", 2)[0];
    return Drafters.list().stream()
        .filter(drafter -> drafter.name().equals(name))
        .map(DrafterInfo::exactness)
        .findFirst()
        .orElse(Exactness.APPROXIMATE);
  }

  private static boolean isParameter(String piece) {
    int equals = piece.indexOf('=');
    int colon = piece.indexOf(':');
    return equals >= 0 && (colon < 0 || equals < colon);
  }
}
