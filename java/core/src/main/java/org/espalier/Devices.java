package org.espalier;

import java.util.List;
import org.espalier.internal.NativeDevices;

/** The devices of this machine. May be used from any thread. */
public final class Devices {
  private Devices() {}

  /** Every device, and an entry for each backend that has none, with the reason. */
  public static List<DeviceInfo> list() {
    return NativeDevices.list();
  }
}
