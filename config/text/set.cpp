#include "config/text/set.h"

#include <fmt/format.h>

#include <charconv>
#include <set>
#include <string_view>

#include "config/text/errors.h"
#include "config/text/fields.h"

namespace troupe::config {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

template <class T>
bool parse_number(std::string_view text, T& value) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  return result.ec == std::errc{} && result.ptr == end;
}

/// Sets or, for a repeated field, appends `value`. False if `value` is not of the field's type.
bool put(Message& message, const FieldDescriptor& field, const std::string& value) {
  const auto& reflection = *message.GetReflection();
  const bool repeated = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t number;
      if (repeated || !parse_number(value, number)) return false;
      reflection.SetInt32(&message, &field, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t number;
      if (repeated || !parse_number(value, number)) return false;
      reflection.SetInt64(&message, &field, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t number;
      if (repeated || !parse_number(value, number)) return false;
      reflection.SetUInt64(&message, &field, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double number;
      if (repeated || !parse_number(value, number)) return false;
      reflection.SetDouble(&message, &field, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      if (repeated || (value != "true" && value != "false")) return false;
      reflection.SetBool(&message, &field, value == "true");
      return true;
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* enumerator = field.enum_type()->FindValueByName(value);
      if (repeated || enumerator == nullptr) return false;
      reflection.SetEnum(&message, &field, enumerator);
      return true;
    }
    case FieldDescriptor::CPPTYPE_STRING:
      if (repeated) {
        reflection.AddString(&message, &field, value);
      } else {
        reflection.SetString(&message, &field, value);
      }
      return true;
    default:
      return false;
  }
}

class Setter {
 public:
  Setter(Message& message, Origins& origins) : message_(message), origins_(origins) {}

  void apply(const std::string& setting) {
    place_ = "--set " + setting;
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      throw ConfigError(describe({place_, setting, "no value", "path=value"}));
    }
    if (equals == 0) {
      throw ConfigError(describe({place_, "the field", "no path", "path=value"}));
    }
    const std::string path = setting.substr(0, equals);
    const std::string value = setting.substr(equals + 1);
    auto [section, field] = find(path);
    if (field->message_type() != nullptr) {
      throw ConfigError(
          describe({place_, path, "a section", "one of its fields, as " + first_field(path)}));
    }
    if (field->is_repeated() && replaced_.insert(path).second) {
      section->GetReflection()->ClearField(section, field);
      origins_.erase(path);
    }
    if (!put(*section, *field, value)) {
      throw ConfigError(describe({place_, path, "'" + value + "'", wanted_value(*field)}));
    }
    note(*section, *field, path);
  }

 private:
  struct Target {
    Message* section;
    const FieldDescriptor* field;
  };

  /// Walks along `path` and makes the sections on it.
  Target find(const std::string& path) {
    Message* section = &message_;
    size_t begin = 0;
    while (true) {
      const size_t end = path.find('.', begin);
      const std::string part = path.substr(begin, end - begin);
      const size_t bracket = part.find('[');
      const auto* field = section->GetDescriptor()->FindFieldByName(part.substr(0, bracket));
      const bool is_list =
          field != nullptr && field->is_repeated() && field->message_type() != nullptr;
      if (field == nullptr || (end != std::string::npos && field->message_type() == nullptr) ||
          (bracket != std::string::npos && !is_list)) {
        throw ConfigError(describe(
            {place_, path, "an unknown field", nearest_field(*message_.GetDescriptor(), path)}));
      }
      if (end == std::string::npos) return {section, field};
      section = is_list ? element(*section, *field, path.substr(0, end))
                        : section->GetReflection()->MutableMessage(section, field);
      begin = end + 1;
    }
  }

  /// The section of a list that `path` ends in, as data.source[0].
  Message* element(Message& section, const FieldDescriptor& field, const std::string& path) const {
    const int size = section.GetReflection()->FieldSize(section, &field);
    const size_t bracket = path.rfind('[');
    const std::string list = path.substr(0, path.ends_with(']') ? bracket : std::string::npos);
    int index = -1;
    if (list.size() < path.size()) {
      const std::string_view number(path.data() + bracket + 1, path.size() - bracket - 2);
      if (!parse_number(number, index)) index = -1;
    }
    if (index < 0 || index >= size) {
      const std::string last = size > 1 ? fmt::format(" to {}[{}]", list, size - 1) : "";
      throw ConfigError(
          describe({place_, path, fmt::format("a list of {} sections", size),
                    size == 0 ? "sections in the run file" : list + "[0]" + last}));
    }
    return section.GetReflection()->MutableRepeatedMessage(&section, &field, index);
  }

  std::string first_field(const std::string& path) const {
    for (const std::string& candidate : field_paths(*message_.GetDescriptor())) {
      if (candidate.starts_with(path + ".")) return candidate;
    }
    return path;
  }

  void note(const Message& section, const FieldDescriptor& field, const std::string& path) {
    if (!field.is_repeated()) return origins_.set(path, place_);
    const int last = section.GetReflection()->FieldSize(section, &field) - 1;
    origins_.set(fmt::format("{}[{}]", path, last), place_);
  }

  Message& message_;
  Origins& origins_;
  std::string place_;
  std::set<std::string> replaced_;
};

}  // namespace

void apply_settings(std::span<const std::string> settings, Message& message, Origins& origins) {
  Setter setter(message, origins);
  for (const std::string& setting : settings) setter.apply(setting);
}

}  // namespace troupe::config
