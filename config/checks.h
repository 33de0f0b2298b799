// Collects what is wrong with a configuration, so that a user sees all of it at once.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "config/text/errors.h"
#include "config/text/origins.h"

namespace troupe::config {

class Checks {
 public:
  explicit Checks(const Origins& origins) : origins_(origins) {}

  void add(std::string_view field, std::string found, std::string wanted) {
    problems_.push_back(
        {origins_.place(field), std::string(field), std::move(found), std::move(wanted)});
  }

  /// `value` must be in [low, high].
  template <class T>
  void in_range(std::string_view field, T value, T low, T high) {
    if (value >= low && value <= high) return;  // false for NaN too
    const bool unlimited = high == std::numeric_limits<T>::max();
    add(field, fmt::format("{}", value),
        unlimited ? fmt::format("at least {}", low) : fmt::format("{} to {}", low, high));
  }

  /// `value` must be in [low, high).
  void below(std::string_view field, double value, double low, double high) {
    if (value >= low && value < high) return;
    add(field, fmt::format("{}", value),
        fmt::format("a number of at least {} and less than {}", low, high));
  }

  /// `value` must be a finite number greater than 0.
  void positive(std::string_view field, double value) {
    if (std::isfinite(value) && value > 0) return;
    add(field, fmt::format("{}", value), "a number greater than 0");
  }

  /// `value` must be a finite number of at least 0.
  void not_negative(std::string_view field, double value) {
    if (std::isfinite(value) && value >= 0) return;
    add(field, fmt::format("{}", value), "a number of at least 0");
  }

  bool passed() const { return problems_.empty(); }

  /// Throws ConfigError with a line for each problem, if there is one.
  void finish() const {
    if (problems_.empty()) return;
    std::string text;
    for (const Problem& problem : problems_) {
      text += (text.empty() ? "" : "\n") + describe(problem);
    }
    throw ConfigError(text);
  }

 private:
  const Origins& origins_;
  std::vector<Problem> problems_;
};

}  // namespace troupe::config
