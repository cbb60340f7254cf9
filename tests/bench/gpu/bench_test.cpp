// The benchmark itself, on the CPU backend at small sizes: every case runs, and the table's arithmetic is right.
#include <sstream>

#include "cases.h"
#include "check.h"
#include "cpu/cpu_backend.h"

using namespace espalier_bench;

TEST(every_case_runs_and_takes_time) {
  const auto cpu = espalier::make_cpu_backend(2);
  Cases cases(*cpu, tiny());
  const double speed = cases.copy_speed();
  CHECK(speed > 0);
  cases.run_all();
  CHECK_EQ(cases.rows().size(), 1u + 2 * 5 + 1 * 2 + 2 * 4 + 1);
  for (const Row& row : cases.rows()) {
    CHECK_MSG(row.seconds > 0 && row.bytes > 0, "%s", line_of(row, speed).c_str());
  }
  print_table(cases.rows(), speed);
}

TEST(a_line_is_time_floor_share_and_ratio) {
  const Row row{"op", "shape", 20e-6, 1e6, 10e-6, "torch", ""};
  CHECK_EQ(floor_of(row, 1e11), 1e-5);
  const std::string line = line_of(row, 1e11);
  for (const char* part : {" 20.0 ", " 10.0 ", " 50%", "2.00 x the time of torch"}) {
    CHECK_MSG(line.find(part) != std::string::npos, "%s has no '%s'", line.c_str(), part);
  }
  const std::string absent = line_of({"op", "shape", 0, 1e6, 0, "", "no kernel"}, 1e11);
  CHECK_MSG(absent.find("no kernel") != std::string::npos, "%s", absent.c_str());
}

TEST(the_cases_are_those_of_the_8b_model) {
  const Sizes s = llama_8b(false);
  CHECK_EQ(s.contexts.back(), 131072);
  CHECK_EQ((s.q_heads + 2 * s.kv_heads) * s.head_dim, 6144);
}

TEST(a_row_gets_its_fastest_peer_and_no_other) {
  std::vector<Row> rows = {
      {"top_k", "rows 1", 1e-5, 1, 0, "", ""}, {"top_k", "rows 2", 1e-5, 1, 0, "", ""}};
  std::istringstream in(
      "top_k\trows 1\tslow\t4e-5\ntop_k\trows 1\tfast\t2e-5\ntop_k\trows 1\tlate\t3e-5\n"
      "top_k\trows 3\tother\t1e-6\ntop_k\trows 2\tbroken\tnan?\n");
  read_peers(in, &rows);
  CHECK_EQ(rows[0].peer, std::string("fast"));
  CHECK_EQ(rows[0].peer_seconds, 2e-5);
  CHECK_EQ(rows[1].peer_seconds, 0.0);
}
