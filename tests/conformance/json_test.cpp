// The JSON reader: what RFC 8259 allows is read, everything else is refused with the byte where it
// went wrong.
#include "model/json.h"

#include <cmath>
#include <string>

#include "check.h"
#include "runtime/status.h"

namespace {

using espalier::Json;
using espalier::parse_json;
using Kind = espalier::Json::Kind;

/** Text of the error; empty when the text is accepted. */
std::string error_of(const std::string& text) {
  try {
    parse_json(text, "text");
    return "";
  } catch (const espalier::Error& e) {
    return e.status() == ESPALIER_BAD_MODEL ? e.what() : "wrong status";
  }
}

}  // namespace

TEST(values_of_every_kind_are_read) {
  const Json json = parse_json(
      " {\"b\": [true, false, null], \"a\": -12, \"e\": {}, \"d\": \"x\", \"c\": 2.5e-1, \"f\": "
      "[]}\r\n\t",
      "text");
  REQUIRE(json.is_object());
  REQUIRE(json.object.size() == 6);
  CHECK(
      json.find("a")->kind == Kind::kInt && json.find("a")->integer == -12 &&
      json.find("a")->number == -12);
  CHECK(json.find("b")->is_array() && json.find("b")->array.size() == 3);
  CHECK(
      json.find("b")->array[0].boolean && !json.find("b")->array[1].boolean &&
      json.find("b")->array[2].is_null());
  CHECK(json.find("c")->kind == Kind::kDouble && json.find("c")->number == 0.25);
  CHECK(json.find("d")->string == "x");
  CHECK(json.find("e")->is_object() && json.find("e")->object.empty());
  CHECK(json.find("f")->is_array() && json.find("f")->array.empty());
  CHECK(json.find("g") == nullptr && json.find("") == nullptr);
  CHECK(parse_json("7", "text").find("a") == nullptr);
}

TEST(integers_are_exact_up_to_64_bits_and_doubles_beyond) {
  CHECK_EQ(parse_json("9223372036854775807", "text").integer, INT64_MAX);
  CHECK_EQ(parse_json("-9223372036854775808", "text").integer, INT64_MIN);
  CHECK(parse_json("9223372036854775808", "text").kind == Kind::kDouble);
  CHECK_EQ(parse_json("9223372036854775808", "text").number, std::ldexp(1.0, 63));
  CHECK(parse_json("1.0", "text").kind == Kind::kDouble);
  CHECK(parse_json("1e2", "text").kind == Kind::kDouble);
  CHECK_EQ(parse_json("1E+2", "text").number, 100.0);
  CHECK_EQ(parse_json("-0.5", "text").number, -0.5);
  CHECK_EQ(parse_json("1e-06", "text").number, 1e-6);
}

TEST(strings_are_utf8_with_all_escapes) {
  CHECK_EQ(parse_json(R"("\"\\\/\b\f\n\r\t")", "text").string, std::string("\"\\/\b\f\n\r\t"));
  CHECK_EQ(
      parse_json(R"("\u0041\u00e9\u20AC\ud83d\ude00")", "text").string,
      std::string("A\u00e9\u20ac\U0001F600"));
  CHECK_EQ(
      parse_json("\"\u00e9\u20ac\U0001F600\"", "text").string,
      std::string("\u00e9\u20ac\U0001F600"));
  CHECK_EQ(parse_json(R"("\u0000")", "text").string, std::string(1, '\0'));
}

TEST(malformed_texts_are_refused_at_their_byte) {
  const struct {
    std::string text, error;
  } cases[] = {
      {"", "text: byte 0 = end of the text, expected a value"},
      {"  ", "text: byte 2 = end of the text, expected a value"},
      {"{\"a\": }", "text: byte 6 = '}', expected a value"},
      {"{\"a\" 1}", "text: byte 5 = '1', expected ':'"},
      {"{\"a\": 1,}", "text: byte 8 = '}', expected a key"},
      {"{a: 1}", "text: byte 1 = 'a', expected a key"},
      {"{\"a\": 1", "text: byte 7 = end of the text, expected ',' or '}'"},
      {"[1, 2", "text: byte 5 = end of the text, expected ',' or ']'"},
      {"[1,]", "text: byte 3 = ']', expected a value"},
      {"[1 2]", "text: byte 3 = '2', expected ',' or ']'"},
      {"1 2", "text: byte 2 = '2', expected the end of the text"},
      {"{} x", "text: byte 3 = 'x', expected the end of the text"},
      {"01", "text: byte 1 = '1', expected the end of the text"},
      {"-", "text: byte 1 = end of the text, expected a digit"},
      {"1.", "text: byte 2 = end of the text, expected a digit"},
      {"1e", "text: byte 2 = end of the text, expected a digit"},
      {"+1", "text: byte 0 = '+', expected a value"},
      {".5", "text: byte 0 = '.', expected a value"},
      {"1e999", "text: byte 0 = '1', expected a number within the range of a double"},
      {"NaN", "text: byte 0 = 'N', expected a value"},
      {"Infinity", "text: byte 0 = 'I', expected a value"},
      {"nul", "text: byte 0 = 'n', expected a value"},
      {"True", "text: byte 0 = 'T', expected a value"},
      {"'a'", "text: byte 0 = ''', expected a value"},
      {"// x\n1", "text: byte 0 = '/', expected a value"},
      {"\"abc", "text: byte 4 = end of the text, expected '\"'"},
      {"\"a\nb\"", "text: byte 2 = 0x0a, expected no control character"},
      {"\"\\x\"", "text: byte 2 = 'x', expected an escape of JSON"},
      {"\"\\u12g4\"", "text: byte 5 = 'g', expected four hex digits"},
      {"\"\\ud800\"", "text: byte 7 = '\"', expected the second half of a surrogate pair"},
      {"\"\\ud800\\u0041\"",
       "text: byte 13 = '\"', expected the second half of a surrogate pair before this"},
      {"\"\\udc00\"", "text: byte 7 = '\"', expected no lone surrogate before this"},
      {"\xef\xbb\xbf{}", "text: byte 0 = 0xef, expected a value"},
      {"{\"a\": 1, \"b\": 2, \"a\": 3}",
       "text: object before byte 24 has key \"a\" twice, expected once"},
      {"{\"a\": 1, \"\\u0061\": 3}",
       "text: object before byte 21 has key \"a\" twice, expected once"},
      {std::string("1\0", 2), "text: byte 1 = 0x00, expected the end of the text"},
  };
  for (const auto& c : cases) CHECK_EQ(error_of(c.text), c.error);
}

TEST(invalid_utf8_is_refused) {
  for (const char* bytes :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x80\x80", "\xe0\x9f\xbf",
        "\xe2\x82", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x9f\x98",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    const std::string error = error_of(std::string("\"") + bytes + "\"");
    CHECK_MSG(
        error.find("expected valid UTF-8") != std::string::npos, "0x%02x: %s", bytes[0] & 0xFF,
        error.c_str());
  }
}

TEST(depth_and_number_of_values_are_bounded) {
  const auto nested = [](int levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  CHECK_EQ(error_of(nested(64)), std::string());
  CHECK_EQ(error_of(nested(65)), std::string("text: byte 64 = '[', expected at most 64 levels"));
  CHECK(error_of(std::string(10'000'000, '[')).find("at most 64 levels") != std::string::npos);
  std::string many = "[0";
  for (int i = 0; i < 2'000'000; ++i) many += ",0";
  CHECK(error_of(many + "]").find("at most 2000000 values") != std::string::npos);
}

TEST(shown_values_are_short_and_printable) {
  CHECK_EQ(espalier::shown(std::string_view("a\u00e9")), std::string("\"a\u00e9\""));
  CHECK_EQ(espalier::shown(std::string_view("a\n\x7f\xff")), std::string("\"a???\""));
  CHECK_EQ(espalier::shown(std::string(500, 'x')), "\"" + std::string(120, 'x') + "\"...");
  // A character that would be cut is left out whole.
  CHECK_EQ(
      espalier::shown(std::string(119, 'x') + "\u00e9y"), "\"" + std::string(119, 'x') + "\"...");
}
