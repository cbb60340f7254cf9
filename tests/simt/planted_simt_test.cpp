// Every planted bug is caught under every order of the lanes, with its kind, its kernel and its source line; and its
// clean sibling runs without a word.
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <set>

#include "check.h"
#include "orders.h"
#include "planted.h"

namespace {

using simt::emulated::kAccessesSeen;
using simt::emulated::kOrders;
using simt::emulated::NamedOrder;
using simt::emulated::Order;
using simt::emulated::Report;

/** planted.cu:line of the lines that carry `BUG name`. */
std::set<std::string> lines_to_blame(const std::string& name) {
  std::set<std::string> found;
  std::ifstream source(ESPALIER_PLANTED_SOURCE);
  std::string line;
  for (int number = 1; std::getline(source, line); ++number) {
    std::string words = line + " ";
    if (words.find("// BUG " + name + " ") != std::string::npos)
      found.insert("planted.cu:" + std::to_string(number));
  }
  return found;
}

std::optional<Report> run(const Planted& kernel, bool bug, const NamedOrder& order) {
  simt::emulated::set_order(order.order, check::seed());
  try {
    kernel.run(bug);
  } catch (const Report& report) {
    return report;
  }
  return std::nullopt;
}

/** Whether AddressSanitizer ends the process that runs the bug. */
bool ends_the_process(const Planted& kernel) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    std::fclose(stderr);
    close(2);
    kernel.run(true);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

}  // namespace

TEST(every_planted_bug_is_caught) {
  int caught = 0, left_to_asan = 0, unseen = 0;
  for (const Planted& kernel : planted()) {
    if (!kAccessesSeen && kernel.seen_by != SeenBy::kPrimitive) {
      if (kernel.seen_by == SeenBy::kAccessOrAsan) {
        CHECK_MSG(ends_the_process(kernel), "%s: AddressSanitizer says nothing", kernel.name);
        ++left_to_asan;
      } else {
        ++unseen;
      }
      continue;
    }
    const std::set<std::string> lines = lines_to_blame(kernel.name);
    for (const NamedOrder& order : kOrders) {
      const auto report = run(kernel, true, order);
      CHECK_MSG(report.has_value(), "%s, %s: not caught", kernel.name, order.name);
      if (!report) continue;
      if (order.order == Order::kForward) std::printf("  %s\n", report->what());
      CHECK_MSG(
          report->defect == kernel.defect || report->defect == kernel.also, "%s, %s: %s",
          kernel.name, order.name, report->what());
      CHECK_MSG(
          lines.empty() || lines.count(report->place) == 1, "%s, %s: the line to blame is not %s",
          kernel.name, order.name, report->what());
      ++caught;
    }
  }
  std::printf(
      "planted bugs: %zu, %d left to AddressSanitizer, %d not to be seen in this build; %d "
      "reports\n",
      planted().size(), left_to_asan, unseen, caught);
}

TEST(clean_siblings_run_without_a_word) {
  for (const Planted& kernel : planted()) {
    for (const NamedOrder& order : kOrders) {
      const auto report = run(kernel, false, order);
      CHECK_MSG(!report, "%s, %s: %s", kernel.name, order.name, report ? report->what() : "");
    }
  }
}

TEST(an_empty_grid_launches_nothing_and_a_defect_leaves_the_emulator_usable) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    for (const Planted& kernel : planted()) {
      if (kernel.seen_by != SeenBy::kPrimitive) continue;
      if (std::string(kernel.name) == "wait_for_nobody")
        continue;  // slow: it polls until it is given up
      CHECK(run(kernel, true, kOrders[0]).has_value());
      CHECK(!run(kernel, false, kOrders[0]).has_value());
    }
  }
}
