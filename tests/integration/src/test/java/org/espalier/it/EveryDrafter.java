package org.espalier.it;

import java.nio.file.Path;
import java.util.List;
import org.espalier.DrafterInfo;
import org.espalier.Drafters;

/**
 * Every drafter of the registry in each of its kinds, with sizes for models of four layers. One
 * that is new is among them at once, with its defaults.
 */
final class EveryDrafter {
  private EveryDrafter() {}

  /**
   * Specs, plain decoding left out.
   *
   * @param draft the draft model of those that have one
   */
  static List<String> specs(Path draft) {
    return Drafters.list().stream()
        .filter(info -> !info.name().equals("none"))
        .flatMap(info -> kinds(info, draft).stream())
        .toList();
  }

  private static List<String> kinds(DrafterInfo info, Path draft) {
    return switch (info.name()) {
      case "prompt-lookup" -> List.of("prompt-lookup:n_max=2,m=4");
      case "token-recycling" -> List.of("token-recycling:tree=3x2x1,k=3");
      case "draft-model" ->
          List.of(
              "draft-model:gamma=2,model=" + draft, "draft-model:gamma=2,width=2,model=" + draft);
      case "dynamic-tree" ->
          List.of(
              "dynamic-tree:nodes=6,depth=2,model=" + draft,
              "dynamic-tree:source=early-exit,nodes=6,depth=2",
              "dynamic-tree:source=layer-skip,nodes=6,depth=2");
      case "parallel" -> List.of("parallel:gamma=2,model=" + draft);
      case "early-exit" -> List.of("early-exit:d_max=3");
      case "layer-skip" -> List.of("layer-skip:r=0.5,w=4,s_max=1");
      default -> List.of(info.name());
    };
  }
}
