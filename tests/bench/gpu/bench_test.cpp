// The benchmark itself, on the CPU backend at small sizes: every case runs, and the table's arithmetic is right.
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
