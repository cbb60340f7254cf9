package org.espalier.presets;

import org.bytedeco.javacpp.annotation.NoException;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;
import org.bytedeco.javacpp.tools.Info;
import org.bytedeco.javacpp.tools.InfoMap;
import org.bytedeco.javacpp.tools.InfoMapper;

/** How JavaCPP reads espalier.h. Nothing is thrown across that header, so no call is wrapped. */
@Properties(
    value = @Platform(value = "linux-x86_64", include = "espalier.h", link = "espalier@.0"),
    target = "org.espalier.natives",
    global = "org.espalier.natives.global.espalier")
@NoException
public class EspalierConfig implements InfoMapper {
  @Override
  public void map(InfoMap infoMap) {
    infoMap
        .put(new Info("ESPALIER_API").cppTypes().annotations())
        .put(new Info("espalier_status").cppTypes("int").valueTypes("int"));
  }
}
