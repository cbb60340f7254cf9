// A small test harness: one program per file, no dependency, so that it also builds where there is
// only a compiler.
//
//   TEST(name) { CHECK(...); CHECK_EQ(a, b); CHECK_MSG(ok, "format", ...); REQUIRE(...); }
//
// A failed CHECK goes on, a failed REQUIRE ends the test. Arguments of the program: --list, or
// parts of names of the tests to run. The environment variable ESPALIER_TEST_SEED fixes seed(),
// which otherwise differs in every run. A test program that asks for instructions that the
// processor lacks exits with 77, which CTest reports as skipped.
#ifndef ESPALIER_TESTS_CONFORMANCE_CHECK_H
#define ESPALIER_TESTS_CONFORMANCE_CHECK_H

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <random>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

/** Ends a test; not an std::exception, so that code under test does not catch it. */
struct EndOfTest {};

inline bool add(const char* name, void (*body)()) {
  tests().push_back({name, body});
  return true;
}

/** Of this run: different in every one, printed when a test fails. */
inline uint64_t seed() {
  static const uint64_t value = [] {
    const char* wanted = std::getenv("ESPALIER_TEST_SEED");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : uint64_t{std::random_device()()};
  }();
  return value;
}

__attribute__((format(printf, 3, 4))) inline void failed(
    const char* file, int line, const char* format, ...) {
  constexpr int kMostPrinted = 20;
  if (++failures() > kMostPrinted) return;
  std::va_list args;
  va_start(args, format);
  std::printf("  %s:%d: ", file, line);
  std::vprintf(format, args);
  std::printf("\n");
  va_end(args);
}

template <class T>
std::string shown(const T& value) {
  if constexpr (requires(std::ostream& out) { out << value; }) {
    std::ostringstream out;
    out.precision(9);
    out << value;
    return out.str();
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else {
    return "a value that cannot be shown";
  }
}

template <class A, class B>
bool equal(const A& a, const B& b) {
  if constexpr (
      std::is_integral_v<A> && std::is_integral_v<B> && !std::is_same_v<A, bool> &&
      !std::is_same_v<B, bool>) {
    return std::cmp_equal(a, b);
  } else {
    return a == b;
  }
}

template <class A, class B>
bool check_equal(
    const char* file, int line, const char* a_text, const char* b_text, const A& a, const B& b) {
  if (equal(a, b)) return true;
  failed(
      file, line, "%s = %s, expected %s = %s", a_text, shown(a).c_str(), b_text, shown(b).c_str());
  return false;
}

inline int run(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  int failed_tests = 0, run_tests = 0;
  for (const Test& test : tests()) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted |= std::strstr(test.name, argv[i]) != nullptr;
    if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
      std::printf("%s\n", test.name);
      continue;
    }
    if (!wanted) continue;
    const int before = failures();
    ++run_tests;
    try {
      test.body();
    } catch (const EndOfTest&) {
    } catch (const std::exception& e) {
      failed(test.name, 0, "exception: %s", e.what());
    }
    if (failures() == before) continue;
    ++failed_tests;
    std::printf(
        "FAILED %s (%d checks; ESPALIER_TEST_SEED=%llu)\n", test.name, failures() - before,
        static_cast<unsigned long long>(seed()));
  }
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) return 0;
  std::printf("%d tests, %d failed\n", run_tests, failed_tests);
  return failed_tests == 0 && run_tests > 0 ? 0 : 1;
}

/** Whether the processor has what the environment variable ESPALIER_CPU_INSTRUCTIONS asks for. */
inline bool has_wanted_instructions() {
  const char* wanted = std::getenv("ESPALIER_CPU_INSTRUCTIONS");
#if defined(__x86_64__)
  if (wanted != nullptr && std::strcmp(wanted, "avx512") == 0) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
  if (wanted != nullptr && std::strcmp(wanted, "avx2") == 0) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
  }
#endif
  return wanted == nullptr || *wanted == '\0' || std::strcmp(wanted, "plain") == 0;
}

}  // namespace check

#define TEST(name)                                                  \
  static void test_##name();                                        \
  static const bool added_##name = check::add(#name, &test_##name); \
  static void test_##name()

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) check::failed(__FILE__, __LINE__, "%s", #condition); \
  } while (false)

#define CHECK_MSG(condition, ...)                                     \
  do {                                                                \
    if (!(condition)) check::failed(__FILE__, __LINE__, __VA_ARGS__); \
  } while (false)

#define CHECK_EQ(a, b) check::check_equal(__FILE__, __LINE__, #a, #b, (a), (b))

#define REQUIRE(condition)                                 \
  do {                                                     \
    if (!(condition)) {                                    \
      check::failed(__FILE__, __LINE__, "%s", #condition); \
      throw check::EndOfTest();                            \
    }                                                      \
  } while (false)

int main(int argc, char** argv) {
  if (!check::has_wanted_instructions()) return 77;
  return check::run(argc, argv);
}

#endif
