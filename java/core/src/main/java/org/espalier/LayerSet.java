package org.espalier;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Which sub-layers of a model a draft pass runs: the attention and the MLP of each layer. One that
 * is left out is the identity. Immutable.
 */
public final class LayerSet {
  private static final int ATTENTION = 1;
  private static final int MLP = 2;

  /** [numLayers] ATTENTION + MLP of what runs. */
  private final int[] sublayers;

  private LayerSet(int[] sublayers) {
    this.sublayers = sublayers;
  }

  /** The first {@code layers} of a model's layers, whole: an early exit. */
  public static LayerSet first(int layers, int numLayers) {
    check("layers", layers, 1, numLayers);
    int[] sublayers = new int[numLayers];
    Arrays.fill(sublayers, 0, layers, ATTENTION | MLP);
    return new LayerSet(sublayers);
  }

  /**
   * All layers without some attentions and MLPs.
   *
   * @param attention layers whose attention is left out, from 0
   * @param mlp layers whose MLP is left out
   * @throws IllegalArgumentException for a layer that the model does not have, and when nothing is
   *     left
   */
  public static LayerSet without(List<Integer> attention, List<Integer> mlp, int numLayers) {
    int[] sublayers = new int[numLayers];
    Arrays.fill(sublayers, ATTENTION | MLP);
    attention.forEach(i -> sublayers[check("attention layer", i, 0, numLayers - 1)] &= ~ATTENTION);
    mlp.forEach(i -> sublayers[check("MLP layer", i, 0, numLayers - 1)] &= ~MLP);
    if (Arrays.stream(sublayers).allMatch(s -> s == 0)) {
      throw new IllegalArgumentException(
          "layer set leaves out all of " + numLayers + " layers, expected one that runs");
    }
    return new LayerSet(sublayers);
  }

  private static int check(String what, int got, int least, int most) {
    if (got < least || got > most) {
      throw new IllegalArgumentException(
          what + " = " + got + ", expected " + least + " to " + most);
    }
    return got;
  }

  /** Layers of the model. */
  public int numLayers() {
    return sublayers.length;
  }

  /** Layers whose attention is left out, ascending. */
  public List<Integer> attentionLeftOut() {
    return leftOut(ATTENTION);
  }

  /** Layers whose MLP is left out, ascending. */
  public List<Integer> mlpLeftOut() {
    return leftOut(MLP);
  }

  private List<Integer> leftOut(int sublayer) {
    List<Integer> layers = new ArrayList<>();
    for (int i = 0; i < sublayers.length; i++) {
      if ((sublayers[i] & sublayer) == 0) {
        layers.add(i);
      }
    }
    return layers;
  }

  /** As the native call takes it; not to be changed. */
  int[] sublayers() {
    return sublayers;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof LayerSet set && Arrays.equals(sublayers, set.sublayers);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(sublayers);
  }

  @Override
  public String toString() {
    return "LayerSet["
        + sublayers.length
        + " layers without attention "
        + attentionLeftOut()
        + ", MLP "
        + mlpLeftOut()
        + "]";
  }
}
