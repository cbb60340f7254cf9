#include "model/json.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "runtime/status.h"

namespace espalier {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxValues = 2'000'000;  // bounds the memory that a small file can ask for

/** Bytes of the UTF-8 character at the start of a text, 0 when there is none. */
size_t utf8_len(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return 0;
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t len = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < len) return 0;
  for (size_t i = 1; i < len; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (first == 0xE0 && byte(1) < 0xA0) return 0;  // longer than needed
  if (first == 0xED && byte(1) > 0x9F) return 0;  // surrogates
  if (first == 0xF0 && byte(1) < 0x90) return 0;  // longer than needed
  if (first == 0xF4 && byte(1) > 0x8F) return 0;  // beyond U+10FFFF
  return len;
}

void append_utf8(std::string* out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& what) : text_(text), what_(what) {}

  Json document() {
    Json json = value(0);
    skip_space();
    if (pos_ != text_.size()) refuse("the end of the text");
    return json;
  }

 private:
  [[noreturn]] void refuse(const char* rule) const {
    if (pos_ >= text_.size()) {
      fail(
          ESPALIER_BAD_MODEL, "%s: byte %zu = end of the text, expected %s", what_.c_str(),
          text_.size(), rule);
    }
    const unsigned char byte = static_cast<unsigned char>(text_[pos_]);
    if (byte > 0x20 && byte < 0x7F) {
      fail(ESPALIER_BAD_MODEL, "%s: byte %zu = '%c', expected %s", what_.c_str(), pos_, byte, rule);
    }
    fail(ESPALIER_BAD_MODEL, "%s: byte %zu = 0x%02x, expected %s", what_.c_str(), pos_, byte, rule);
  }

  bool at(char c) const { return pos_ < text_.size() && text_[pos_] == c; }

  bool at_digit() const { return pos_ < text_.size() && text_[pos_] >= '0' && text_[pos_] <= '9'; }

  void skip_space() {
    while (at(' ') || at('\n') || at('\r') || at('\t')) ++pos_;
  }

  bool take(char c) {
    if (!at(c)) return false;
    ++pos_;
    return true;
  }

  bool take_word(std::string_view word) {
    if (text_.substr(pos_, word.size()) != word) return false;
    pos_ += word.size();
    return true;
  }

  Json value(int depth) {
    skip_space();
    if (depth == kMaxDepth) refuse("at most 64 levels");
    if (++num_values_ > kMaxValues) refuse("at most 2000000 values");
    Json json;
    if (at('{')) {
      object(&json, depth);
    } else if (at('[')) {
      array(&json, depth);
    } else if (at('"')) {
      json.kind = Json::Kind::kString;
      json.string = string();
    } else if (at('-') || at_digit()) {
      number(&json);
    } else if (take_word("true")) {
      json.kind = Json::Kind::kBool;
      json.boolean = true;
    } else if (take_word("false")) {
      json.kind = Json::Kind::kBool;
    } else if (!take_word("null")) {
      refuse("a value");
    }
    return json;
  }

  void array(Json* json, int depth) {
    json->kind = Json::Kind::kArray;
    ++pos_;
    skip_space();
    if (take(']')) return;
    do {
      json->array.push_back(value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take(']')) refuse("',' or ']'");
  }

  void object(Json* json, int depth) {
    json->kind = Json::Kind::kObject;
    ++pos_;
    skip_space();
    if (take('}')) return;
    do {
      skip_space();
      if (!at('"')) refuse("a key");
      std::string key = string();
      skip_space();
      if (!take(':')) refuse("':'");
      json->object.push_back({std::move(key), value(depth + 1)});
      skip_space();
    } while (take(','));
    if (!take('}')) refuse("',' or '}'");
    auto& members = json->object;
    std::sort(
        members.begin(), members.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
    const auto twice = std::adjacent_find(
        members.begin(), members.end(),
        [](const auto& a, const auto& b) { return a.key == b.key; });
    if (twice != members.end()) {
      fail(
          ESPALIER_BAD_MODEL, "%s: object before byte %zu has key %s twice, expected once",
          what_.c_str(), pos_, shown(twice->key).c_str());
    }
  }

  uint32_t hex4() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++pos_) {
      const char c = pos_ < text_.size() ? text_[pos_] : '\0';
      if (c >= '0' && c <= '9') {
        code = code << 4 | static_cast<uint32_t>(c - '0');
      } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
        code = code << 4 | static_cast<uint32_t>((c | 0x20) - 'a' + 10);
      } else {
        refuse("four hex digits");
      }
    }
    return code;
  }

  void escape(std::string* out) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt";
    static constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (take('u')) {
      uint32_t code = hex4();
      if (code >= 0xD800 && code < 0xDC00) {
        if (!take_word("\\u")) refuse("the second half of a surrogate pair");
        const uint32_t low = hex4();
        if (low < 0xDC00 || low > 0xDFFF) refuse("the second half of a surrogate pair before this");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      } else if (code >= 0xDC00 && code <= 0xDFFF) {
        refuse("no lone surrogate before this");
      }
      append_utf8(out, code);
      return;
    }
    const size_t letter = pos_ < text_.size() ? kLetters.find(text_[pos_]) : std::string_view::npos;
    if (letter == std::string_view::npos) refuse("an escape of JSON");
    out->push_back(kMeanings[letter]);
    ++pos_;
  }

  std::string string() {
    std::string out;
    ++pos_;
    while (!take('"')) {
      if (take('\\')) {
        escape(&out);
        continue;
      }
      if (pos_ < text_.size() && static_cast<unsigned char>(text_[pos_]) < 0x20)
        refuse("no control character");
      const size_t len = utf8_len(text_.substr(pos_));
      if (len == 0) refuse(pos_ < text_.size() ? "valid UTF-8" : "'\"'");
      out.append(text_, pos_, len);
      pos_ += len;
    }
    return out;
  }

  void digits() {
    if (!at_digit()) refuse("a digit");
    while (at_digit()) ++pos_;
  }

  void number(Json* json) {
    const size_t begin = pos_;
    bool whole = true;
    take('-');
    if (!take('0')) digits();
    if (take('.')) {
      whole = false;
      digits();
    }
    if (take('e') || take('E')) {
      whole = false;
      if (!take('-')) take('+');
      digits();
    }
    const char* first = text_.data() + begin;
    const char* last = text_.data() + pos_;
    if (whole && std::from_chars(first, last, json->integer).ec == std::errc()) {
      json->kind = Json::Kind::kInt;
      json->number = static_cast<double>(json->integer);
      return;
    }
    json->kind = Json::Kind::kDouble;
    if (std::from_chars(first, last, json->number).ec != std::errc()) {
      pos_ = begin;
      refuse("a number within the range of a double");
    }
  }

  std::string_view text_;
  const std::string& what_;
  size_t pos_ = 0;
  size_t num_values_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view key) const {
  const auto at = std::lower_bound(
      object.begin(), object.end(), key,
      [](const auto& member, std::string_view k) { return member.key < k; });
  return at != object.end() && at->key == key ? &at->value : nullptr;
}

std::string shown(std::string_view text) {
  constexpr size_t kMaxShown = 120;
  std::string out = "\"";
  for (size_t i = 0; i < text.size();) {
    const size_t len = utf8_len(text.substr(i));
    if (i + len > kMaxShown) return out + "\"...";
    const bool printable = len > 1 || (len == 1 && text[i] >= 0x20 && text[i] != 0x7F);
    out += printable ? text.substr(i, len) : "?";
    i += std::max<size_t>(len, 1);
  }
  return out + "\"";
}

std::string shown(const Json& json) {
  char number[32];
  switch (json.kind) {
    case Json::Kind::kNull:
      return "null";
    case Json::Kind::kBool:
      return json.boolean ? "true" : "false";
    case Json::Kind::kInt:
      return std::to_string(json.integer);
    case Json::Kind::kDouble:
      std::snprintf(number, sizeof number, "%g", json.number);
      return number;
    case Json::Kind::kString:
      return shown(json.string);
    case Json::Kind::kArray:
      return "an array";
    case Json::Kind::kObject:
      return "an object";
  }
  return "";
}

Json parse_json(std::string_view text, const std::string& what) {
  return Parser(text, what).document();
}

std::string read_file(const std::string& path, size_t max_bytes) {
  // Not blocking, so that a named pipe is refused instead of waited for.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0)
    fail(
        ESPALIER_BAD_MODEL, "%s: %s, expected a readable file", path.c_str(), std::strerror(errno));
  struct Closer {
    int file;
    ~Closer() { ::close(file); }
  } closer{file};
  struct stat info;
  if (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    fail(ESPALIER_BAD_MODEL, "%s: not a file, expected a readable file", path.c_str());
  }
  if (static_cast<uint64_t>(info.st_size) > max_bytes) {
    fail(
        ESPALIER_BAD_MODEL, "%s: size = %lld bytes, expected at most %zu", path.c_str(),
        static_cast<long long>(info.st_size), max_bytes);
  }
  std::string text(static_cast<size_t>(info.st_size), '\0');
  size_t len = 0;
  while (len < text.size()) {
    const ssize_t got = ::read(file, text.data() + len, text.size() - len);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      fail(
          ESPALIER_BAD_MODEL, "%s: %s, expected a readable file", path.c_str(),
          std::strerror(errno));
    if (got == 0) break;  // the file became shorter
    len += static_cast<size_t>(got);
  }
  text.resize(len);
  return text;
}

}  // namespace espalier
