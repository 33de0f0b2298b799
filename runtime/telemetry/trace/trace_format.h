// The words of a trace file that its writer and its reader share.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "config/schedule/schedule.h"

namespace troupe::runtime {

inline constexpr const char* trace_format = "troupe trace";
inline constexpr int trace_version = 1;

inline constexpr std::array<std::pair<config::Operation::Kind, const char*>, 4> trace_kinds{{
    {config::Operation::Kind::forward, "forward"},
    {config::Operation::Kind::backward, "backward"},
    {config::Operation::Kind::backward_input, "backward_input"},
    {config::Operation::Kind::backward_weight, "backward_weight"},
}};

inline const char* trace_kind(config::Operation::Kind kind) {
  for (const auto& [each, name] : trace_kinds) {
    if (each == kind) return name;
  }
  return "";
}
inline std::optional<config::Operation::Kind> trace_kind_of(std::string_view name) {
  for (const auto& [kind, each] : trace_kinds) {
    if (name == each) return kind;
  }
  return std::nullopt;
}

}  // namespace troupe::runtime
