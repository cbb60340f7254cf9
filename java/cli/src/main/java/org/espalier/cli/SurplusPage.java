package org.espalier.cli;

import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.espalier.analyze.InformationSurplus.Term;

/** The information surplus by layer as one HTML file that needs nothing else: an SVG plot. */
final class SurplusPage {
  private static final int WIDTH = 640;
  private static final int HEIGHT = 320;
  private static final int MARGIN = 48;
  private static final String[] COLOURS = {
    "#1b6ca8", "#c2571a", "#3a7d44", "#7b4b94", "#8a6d00", "#a8324a", "#2a7f86", "#555555"
  };

  private final String about;

  /** By offset, then by layer. */
  private final Map<Integer, Map<Integer, Term>> terms = new TreeMap<>();

  private int lastLayer = 1;
  private double least;
  private double most = 0.1;

  SurplusPage(String about) {
    this.about = about;
  }

  void add(int layer, Term term) {
    terms.computeIfAbsent(term.offset(), offset -> new TreeMap<>()).put(layer, term);
    lastLayer = Math.max(lastLayer, layer);
    least = Math.min(least, term.low());
    most = Math.max(most, term.high());
  }

  private double x(int layer) {
    return MARGIN + (WIDTH - 2.0 * MARGIN) * layer / lastLayer;
  }

  private double y(double nats) {
    return HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * (nats - least) / (most - least);
  }

  String html() {
    StringBuilder svg = new StringBuilder();
    line(svg, "#999", MARGIN, y(0), WIDTH - MARGIN, y(0));
    line(svg, "#999", MARGIN, y(least), MARGIN, y(most));
    label(svg, "end", MARGIN - 6, y(0) + 4, "0");
    label(svg, "end", MARGIN - 6, y(most) - 4, Units.fixed(most, 2));
    label(svg, "end", MARGIN - 6, y(least) + 12, Units.fixed(least, 2));
    label(svg, "middle", WIDTH / 2.0, HEIGHT - 8, "layer");
    for (int layer = 0; layer <= lastLayer; layer++) {
      label(svg, "middle", x(layer), HEIGHT - MARGIN + 18, Integer.toString(layer));
    }
    terms.forEach((offset, byLayer) -> plot(svg, offset, byLayer));
    return """
    <!DOCTYPE html>
    <html lang="en"><head><meta charset="utf-8"><title>Information surplus</title>
    <meta name="viewport" content="width=device-width">
    <style>
      :root { color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; }
      @media (prefers-color-scheme: dark) {
        :root { --ink: #e6edf3; --paper: #161b22; }
        .offset { filter: brightness(1.7); }
      }
      body { font: 14px sans-serif; color: var(--ink); background: var(--paper); max-width: 700px; margin: 2em auto; padding: 0 1em; overflow-wrap: anywhere; }
      svg { max-width: 100%%; height: auto; } svg text { font: 12px sans-serif; } svg > text { fill: var(--ink); }
    </style></head><body>
    <h1>Information surplus by layer</h1>
    <p>%s</p>
    <svg viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Surplus by layer">
    %s</svg>
    <p>Nats that a state says about the token so many behind the next one, beyond what the tokens between say.
    Bars: 95 %% by bootstrap over texts; dashed when not above 0: too few texts to say anything.</p>
    </body></html>
    """
        .formatted(escaped(about), WIDTH, HEIGHT, WIDTH, HEIGHT, svg);
  }

  private void plot(StringBuilder svg, int offset, Map<Integer, Term> byLayer) {
    String colour = COLOURS[(offset - 1) % COLOURS.length];
    svg.append("<g class=\"offset\" fill=\"" + colour + "\">\n");
    StringBuilder points = new StringBuilder();
    byLayer.forEach(
        (layer, term) -> {
          points.append(at(x(layer))).append(',').append(at(y(term.surplus()))).append(' ');
          String stroke = term.isFound() ? colour : colour + "\" stroke-dasharray=\"2 3";
          line(svg, stroke, x(layer), y(term.low()), x(layer), y(term.high()));
        });
    svg.append("<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" + colour + "\" points=\"")
        .append(points.toString().strip())
        .append("\"/>\n");
    label(svg, "start", WIDTH - MARGIN + 4, MARGIN + 16.0 * offset, "k = " + offset);
    svg.append("</g>\n");
  }

  private static void line(
      StringBuilder svg, String colour, double x1, double y1, double x2, double y2) {
    svg.append(
        "<line stroke=\"%s\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>%n"
            .formatted(colour, at(x1), at(y1), at(x2), at(y2)));
  }

  private static void label(StringBuilder svg, String anchor, double x, double y, String text) {
    svg.append(
        "<text text-anchor=\"%s\" x=\"%s\" y=\"%s\">%s</text>%n"
            .formatted(anchor, at(x), at(y), escaped(text)));
  }

  private static String at(double coordinate) {
    return String.format(Locale.ROOT, "%.1f", coordinate);
  }

  private static String escaped(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;");
  }
}
