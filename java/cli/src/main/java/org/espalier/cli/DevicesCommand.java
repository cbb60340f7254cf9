package org.espalier.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.espalier.DeviceInfo;
import org.espalier.Devices;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Lists each backend with its devices, why one is not available, and whose products are used. */
@Command(
    name = "devices",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    sortSynopsis = false,
    versionProvider = Version.class,
    description = {
      "Lists what Espalier can compute on, and why a backend is not available.",
      "On some GPUs prompts are multiplied by cuBLASLt where libcublasLt is found; the environment",
      "variable ESPALIER_CUBLASLT=0 switches that off."
    })
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class DevicesCommand implements Runnable {
  @Mixin private Output output;

  @Override
  public void run() {
    List<DeviceInfo> devices = Devices.list();
    if (output.isJson()) {
      output.printJson(devices.stream().map(DevicesCommand::json).toList());
      return;
    }
    Table table = new Table("device", "available", "name", "instructions", "threads", "memory");
    List<String> notes = new ArrayList<>();
    for (DeviceInfo device : devices) {
      table.add(
          label(device),
          device.available() ? "yes" : "no",
          orDash(device.name()),
          orDash(device.instructions()),
          device.threads() == 0 ? "-" : Integer.toString(device.threads()),
          device.memoryBytes() == 0 ? "-" : Units.bytes(device.memoryBytes()));
      if (!device.available()) {
        notes.add(label(device) + ": " + device.reason());
      } else if (!device.promptGemm().isEmpty()) {
        notes.add(label(device) + ", prompts: " + device.promptGemm());
      }
    }
    output.out().print(table);
    notes.forEach(output.out()::println);
    output.out().flush();
  }

  private static Map<String, Object> json(DeviceInfo device) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("device", label(device));
    json.put("backend", device.backend().label());
    json.put("idx", device.idx());
    json.put("available", device.available());
    json.put("reason", device.reason());
    json.put("prompt_gemm", device.promptGemm());
    json.put("name", device.name());
    json.put("instructions", device.instructions());
    json.put("threads", device.threads());
    json.put("memory_bytes", device.memoryBytes());
    return json;
  }

  private static String label(DeviceInfo device) {
    return device.idx() == 0
        ? device.backend().label()
        : device.backend().label() + ":" + device.idx();
  }

  private static String orDash(String text) {
    return text.isEmpty() ? "-" : text;
  }
}
