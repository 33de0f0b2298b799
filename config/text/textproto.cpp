#include "config/text/textproto.h"

#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <fstream>
#include <iterator>
#include <optional>

#include "config/text/errors.h"
#include "config/text/fields.h"
#include "config/text/locate.h"

namespace troupe::config {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

namespace {

/// Larger files are no configuration.
constexpr std::uintmax_t largest_file_bytes = 16 << 20;

struct SyntaxError {
  int line;    // from 0
  int column;  // from 0
  std::string text;
};

/// Keeps the first error: what follows is often its consequence.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& text) override {
    if (!error) error = SyntaxError{line, column, text};
  }
  std::optional<SyntaxError> error;
};

std::string describe_error(const std::string& name, const std::string& text, const Message& message,
                           const SyntaxError& error) {
  const auto& type = *message.GetDescriptor();
  const FieldPlace at = locate(text, type, {error.line, error.column});
  const std::string place = fmt::format("{}:{}:{}", name, at.line + 1, at.column + 1);
  if (at.field == nullptr && !at.path.empty()) {
    return describe({place, at.path, "an unknown field", nearest_field(type, at.path)});
  }
  if (at.field == nullptr || error.text.starts_with("Non-repeated field") ||
      error.text.find("specified along with field") != std::string::npos) {
    return fmt::format("{}: {}{}", place, at.path.empty() ? "" : at.path + ": ", error.text);
  }
  return describe(
      {place, at.path, at.value.empty() ? "nothing" : at.value, wanted_value(*at.field)});
}

}  // namespace

Origins parse_textproto(const std::filesystem::path& file, Message& message) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(file, failure);
  if (failure) {
    throw ConfigError(
        fmt::format("{}: {}, wanted a readable textproto file", file.string(), failure.message()));
  }
  if (size > largest_file_bytes) {
    throw ConfigError(fmt::format("{}: found {} bytes, wanted a textproto of at most {}",
                                  file.string(), size, largest_file_bytes));
  }
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad() || !in.is_open()) {
    throw ConfigError(fmt::format("{}: cannot be read, wanted a textproto file", file.string()));
  }
  return parse_textproto(file.string(), text, message);
}

Origins parse_textproto(const std::string& name, const std::string& text, Message& message) {
  FirstError collector;
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&collector);
  parser.WriteLocationsTo(&tree);
  parser.SetRecursionLimit(32);
  if (!parser.ParseFromString(text, &message) || collector.error) {
    const SyntaxError error = collector.error.value_or(SyntaxError{0, 0, "cannot be read"});
    throw ConfigError(describe_error(name, text, message, error));
  }
  Origins origins(name);
  origins.add(message, tree);
  return origins;
}

}  // namespace troupe::config
