// A strict JSON reader (RFC 8259) for the small files of a model folder.
#ifndef ESPALIER_MODEL_JSON_H
#define ESPALIER_MODEL_JSON_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/** A JSON value. */
class Json {
 public:
  struct Member;
  enum class Kind { kNull, kBool, kInt, kDouble, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  int64_t integer = 0;  // kInt: a number without fraction or exponent that fits
  double number = 0;    // kInt and kDouble
  std::string string;
  std::vector<Json> array;
  std::vector<Member> object;  // sorted by key

  bool is_null() const { return kind == Kind::kNull; }
  bool is_int() const { return kind == Kind::kInt; }
  bool is_number() const { return kind == Kind::kInt || kind == Kind::kDouble; }
  bool is_string() const { return kind == Kind::kString; }
  bool is_array() const { return kind == Kind::kArray; }
  bool is_object() const { return kind == Kind::kObject; }

  /** The member of an object, or null when it has none or this is no object. */
  const Json* find(std::string_view key) const;
};

struct Json::Member {
  std::string key;
  Json value;
};

/** A value in an error text: at most 120 bytes of a string, quoted and printable. */
std::string shown(std::string_view text);
std::string shown(const Json& json);

/**
 * Parses a whole text. Refused: anything after the value, NaN and infinities, duplicate keys,
 * invalid UTF-8, lone surrogates, more than 64 levels or 2000000 values, and numbers beyond a
 * double. Throws Error with ESPALIER_BAD_MODEL and the byte offset; `what` names the text.
 */
Json parse_json(std::string_view text, const std::string& what);

/** The content of a file of at most max_bytes. Throws Error with ESPALIER_BAD_MODEL. */
std::string read_file(const std::string& path, size_t max_bytes);

}  // namespace espalier

#endif
