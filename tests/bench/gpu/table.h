// The table of a benchmark run: time of a case next to its floor, the bytes it must move at the speed of a copy in the same run.
#ifndef ESPALIER_TESTS_BENCH_GPU_TABLE_H
#define ESPALIER_TESTS_BENCH_GPU_TABLE_H

#include <cstdio>
#include <cstdlib>
#include <istream>
#include <string>
#include <vector>

namespace espalier_bench {

struct Row {
  std::string op, shape;
  double seconds = 0;       // 0 where the case did not run
  double bytes = 0;         // that must be read and written
  double peer_seconds = 0;  // of `peer`; 0 without one
  std::string peer, note;   // note: why the case did not run
};

/** Seconds that the bytes of a row take at least. */
inline double floor_of(const Row& row, double bytes_per_second) {
  return bytes_per_second > 0 ? row.bytes / bytes_per_second : 0;
}

/** One line, without its end. */
inline std::string line_of(const Row& row, double bytes_per_second) {
  char text[300];
  const double floor = floor_of(row, bytes_per_second);
  if (row.seconds <= 0) {
    std::snprintf(
        text, sizeof text, "%-16s %-44s %10s %10.1f %7s  %s", row.op.c_str(), row.shape.c_str(),
        "-", floor * 1e6, "-", row.note.c_str());
    return text;
  }
  std::snprintf(
      text, sizeof text, "%-16s %-44s %10.1f %10.1f %6.0f%%", row.op.c_str(), row.shape.c_str(),
      row.seconds * 1e6, floor * 1e6, 100 * floor / row.seconds);
  std::string line = text;
  if (row.peer_seconds > 0) {
    std::snprintf(
        text, sizeof text, "  %.2f x the time of %s", row.seconds / row.peer_seconds,
        row.peer.c_str());
    line += text;
  }
  return line;
}

/** Puts each line `op, tab, shape, tab, peer, tab, seconds` into the row of that op and shape; the fastest peer stays. */
inline void read_peers(std::istream& in, std::vector<Row>* rows) {
  std::string op, shape, peer, seconds;
  while (std::getline(in, op, '\t') && std::getline(in, shape, '\t') &&
         std::getline(in, peer, '\t') && std::getline(in, seconds)) {
    for (Row& row : *rows) {
      const double time = std::atof(seconds.c_str());
      if (row.op != op || row.shape != shape || !(time > 0)) continue;
      if (row.peer_seconds > 0 && row.peer_seconds <= time) continue;
      row.peer = peer;
      row.peer_seconds = time;
    }
  }
}

inline void print_table(const std::vector<Row>& rows, double bytes_per_second) {
  std::printf(
      "%-16s %-44s %10s %10s %7s  %s\n", "op", "shape", "time us", "floor us", "floor", "peer");
  for (const Row& row : rows) std::printf("%s\n", line_of(row, bytes_per_second).c_str());
}

}  // namespace espalier_bench

#endif
