// The record of a benchmark run: a JSON object for each line. table.py makes the table of it.
//
//   {"op": .., "shape": .., <sizes of the shape>, "seconds": .., "bytes": .., "flops": ..}   a case, by espalier
//   {"op": .., "shape": .., "peer": .., "seconds": ..}                                       the same by somebody else
//   {"op": .., "shape": .., "why": .., "failed": true}       a case that did not run, or a peer's; failed where it should have
//   {"peer": .., "why": ..}                                  a peer that is not here at all
//   {"question": .., "answer": .., "failed": true}           what a first run on a card has to show, beside times
#ifndef ESPALIER_TESTS_BENCH_GPU_RECORD_H
#define ESPALIER_TESTS_BENCH_GPU_RECORD_H

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace espalier_bench {

/** Fields of a line, in order. */
class Line {
 public:
  Line& text(const char* name, const std::string& value) {
    std::string quoted = "\"";
    for (const char c : value) {
      if (static_cast<unsigned char>(c) < ' ') {
        quoted += ' ';
        continue;
      }
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return raw(name, quoted + "\"");
  }
  Line& number(const char* name, double value) {
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.9g", value);
    return raw(name, digits);
  }
  Line& count(const char* name, int64_t value) { return raw(name, std::to_string(value)); }
  Line& failed() {
    has_failed_ = true;
    return raw("failed", "true");
  }

  std::string str() const { return "{" + fields_ + "}"; }
  bool has_failed() const { return has_failed_; }

 private:
  Line& raw(const char* name, const std::string& value) {
    if (!fields_.empty()) fields_ += ", ";
    fields_ += "\"" + std::string(name) + "\": " + value;
    return *this;
  }

  std::string fields_;
  bool has_failed_ = false;
};

/** Sizes of a case, by name: its shape, and what another program needs to do the same. */
using SizesOf = std::vector<std::pair<const char*, int64_t>>;

struct Row {
  std::string op, label;  // label: which one of the op's cases, before its sizes; may be empty
  SizesOf sizes = {};
  double bytes = 0, flops = 0;  // that must be moved and done
  SizesOf more = {};            // what the shape does not say
  std::string peer = {};        // empty for espalier
  double seconds = 0;           // 0 where it did not run
  std::string why = {};         // it did not run
  bool failed = false;          // and should have
};

/** `label, m 1, n 6144, k 4096`. */
inline std::string shape_of(const Row& row) {
  std::string shape = row.label;
  for (const auto& [name, value] : row.sizes) {
    shape += (shape.empty() ? "" : ", ") + std::string(name) + " " + std::to_string(value);
  }
  return shape;
}

inline std::string line_of(const Row& row) {
  Line line;
  line.text("op", row.op).text("shape", shape_of(row));
  if (row.peer.empty()) {
    line.text("label", row.label);
    for (const SizesOf& sizes : {row.sizes, row.more}) {
      for (const auto& [name, value] : sizes) line.count(name, value);
    }
    line.number("bytes", row.bytes).number("flops", row.flops);
  } else {
    line.text("peer", row.peer);
  }
  if (row.seconds > 0) {
    line.number("seconds", row.seconds);
  } else {
    line.text("why", row.why);
  }
  if (row.failed) line.failed();
  return line.str();
}

}  // namespace espalier_bench

#endif
