package org.espalier.internal;

import static org.espalier.natives.global.espalier.ESPALIER_CUDA;
import static org.espalier.natives.global.espalier.espalier_device_count;
import static org.espalier.natives.global.espalier.espalier_device_describe;

import java.util.ArrayList;
import java.util.List;
import org.espalier.Backend;
import org.espalier.DeviceInfo;
import org.espalier.natives.espalier_device_info;

/** The devices that the native library sees. */
public final class NativeDevices {
  private NativeDevices() {}

  /** One entry for each device, and one for each kind that has none. */
  public static List<DeviceInfo> list() {
    Natives.load();
    List<DeviceInfo> devices = new ArrayList<>();
    try (espalier_device_info info = new espalier_device_info()) {
      info.size(info.sizeof());
      for (int entry = 0; entry < espalier_device_count(); entry++) {
        Natives.check(espalier_device_describe(entry, info));
        devices.add(
            new DeviceInfo(
                info.kind() == ESPALIER_CUDA ? Backend.CUDA : Backend.CPU,
                info.idx(),
                info.available() != 0,
                info.num_threads(),
                info.memory_bytes(),
                Natives.text(info.name()),
                Natives.text(info.instructions()),
                Natives.text(info.reason()),
                Natives.text(info.prompt_gemm())));
      }
    }
    return devices;
  }
}
