package org.espalier;

import java.util.List;

/**
 * What can be asked of a built-in drafter.
 *
 * @param name as in {@link Drafters#parse}
 * @param summary one line
 * @param parameters what follows the name
 * @param exactness with the exact verifier
 * @param source the paper
 */
public record DrafterInfo(
    String name, String summary, List<Parameter> parameters, Exactness exactness, String source) {

  public DrafterInfo {
    parameters = List.copyOf(parameters);
  }

  /**
   * One parameter of a drafter.
   *
   * @param type int, tree or model
   * @param defaultValue as text; empty when the parameter must be given
   */
  public record Parameter(String name, String type, String defaultValue, String doc) {}
}
