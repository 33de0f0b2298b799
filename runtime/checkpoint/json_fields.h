// Reads fields of a JSON object that others wrote.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/checkpoint/error.h"

namespace troupe::runtime {

/// Every function throws CheckpointError "FILE: FIELD: found X, wanted Y".
class JsonFields {
 public:
  /// `place` is "FILE: " or "FILE: SECTION."; `object` must be a JSON object.
  JsonFields(const nlohmann::json& object, std::string place)
      : object_(object), place_(std::move(place)) {}

  /// Present and not null.
  bool has(const char* field) const {
    const auto found = object_.find(field);
    return found != object_.end() && !found->is_null();
  }

  int32_t integer(const char* field) const {
    if (!has(field)) refuse(field, "nothing", "a whole number");
    const auto& value = object_.at(field);
    if (value.is_number_integer()) {
      const auto number = value.is_number_unsigned() && value.get<uint64_t>() > INT32_MAX
                              ? int64_t{INT32_MAX} + 1
                              : value.get<int64_t>();
      if (number >= 0 && number <= INT32_MAX) return static_cast<int32_t>(number);
    }
    refuse(field, value.dump(), "a whole number of 0 to 2147483647");
  }
  int32_t integer(const char* field, int32_t otherwise) const {
    return has(field) ? integer(field) : otherwise;
  }

  double number(const char* field) const {
    if (!has(field)) refuse(field, "nothing", "a number");
    const auto& value = object_.at(field);
    if (!value.is_number()) refuse(field, value.dump(), "a number");
    return value.get<double>();
  }
  double number(const char* field, double otherwise) const {
    return has(field) ? number(field) : otherwise;
  }

  bool boolean(const char* field, bool otherwise) const {
    if (!has(field)) return otherwise;
    const auto& value = object_.at(field);
    if (!value.is_boolean()) refuse(field, value.dump(), "true or false");
    return value.get<bool>();
  }

  std::string text(const char* field, const std::string& otherwise) const {
    if (!has(field)) return otherwise;
    const auto& value = object_.at(field);
    if (!value.is_string()) refuse(field, value.dump(), "a text");
    return value.get<std::string>();
  }

  JsonFields section(const char* field) const {
    if (!has(field)) refuse(field, "nothing", "an object");
    const auto& value = object_.at(field);
    if (!value.is_object()) refuse(field, value.dump(), "an object");
    return {value, place_ + field + "."};
  }

  const nlohmann::json& at(const char* field) const { return object_.at(field); }

  [[noreturn]] void refuse(const char* field, std::string found, const std::string& wanted) const {
    if (found.size() > 80) found = found.substr(0, 77) + "...";
    throw CheckpointError(place_ + field + ": found " + found + ", wanted " + wanted);
  }

 private:
  const nlohmann::json& object_;
  std::string place_;
};

/// The JSON object in `text`. Throws CheckpointError if it is none.
inline nlohmann::json parse_object(const std::string& text, const std::string& file) {
  nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
  if (object.is_discarded() || !object.is_object()) {
    throw CheckpointError(file + ": found what is no JSON object in UTF-8, wanted one");
  }
  return object;
}

}  // namespace troupe::runtime
