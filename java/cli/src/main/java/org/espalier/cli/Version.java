package org.espalier.cli;

import picocli.CommandLine.IVersionProvider;

/** The version from the jar's manifest; classes that were not packaged have none. */
final class Version implements IVersionProvider {
  @Override
  public String[] getVersion() {
    String version = Main.class.getPackage().getImplementationVersion();
    return new String[] {"espalier " + (version == null ? "(not packaged)" : version)};
  }
}
