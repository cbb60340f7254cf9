package org.espalier.cli;

import java.io.PrintWriter;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.espalier.DrafterInfo;
import org.espalier.Drafters;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Lists the drafters with their parameters, defaults, exactness and source paper. */
@Command(
    name = "drafters",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    sortSynopsis = false,
    versionProvider = Version.class,
    description = "Lists the drafters, their parameters and where they come from.")
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class DraftersCommand implements Runnable {
  @Mixin private Output output;

  @Override
  public void run() {
    List<DrafterInfo> drafters = Drafters.list();
    if (output.isJson()) {
      output.printJson(drafters.stream().map(DraftersCommand::json).toList());
      return;
    }
    PrintWriter out = output.out();
    for (DrafterInfo drafter : drafters) {
      out.println(drafter.name() + " (" + drafter.exactness().label() + ")");
      out.println("  " + drafter.summary());
      for (DrafterInfo.Parameter parameter : drafter.parameters()) {
        out.println("  " + parameter.name() + "=" + value(parameter) + "  " + parameter.doc());
      }
      if (!drafter.source().isEmpty()) {
        out.println("  Source: " + drafter.source());
      }
      out.println();
    }
    out.println("Use one as --drafter NAME or --drafter NAME:key=value,...");
  }

  private static String value(DrafterInfo.Parameter parameter) {
    return parameter.defaultValue().isEmpty()
        ? "<" + parameter.type() + ">"
        : parameter.defaultValue();
  }

  private static Map<String, Object> json(DrafterInfo drafter) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("name", drafter.name());
    json.put("summary", drafter.summary());
    json.put("parameters", drafter.parameters().stream().map(DraftersCommand::json).toList());
    json.put("exactness", drafter.exactness().label());
    json.put("source", drafter.source());
    return json;
  }

  private static Map<String, Object> json(DrafterInfo.Parameter parameter) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("name", parameter.name());
    json.put("type", parameter.type());
    json.put("default", parameter.defaultValue());
    json.put("doc", parameter.doc());
    return json;
  }
}
