#include "deploy/options/option_checks.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>

namespace troupe::deploy {

CLI::Validator in_range(double low, double high) {
  const auto check = [low, high](const std::string& text) {
    double value = 0;
    const bool is_number = CLI::detail::lexical_cast(text, value);
    if (is_number && value >= low && value <= high) return std::string();
    return fmt::format("found {}, wanted {} to {}", text, low, high);
  };
  return CLI::Validator(check, fmt::format("FLOAT in [{} - {}]", low, high));
}

std::string is_natural(const std::string& text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && stop == end) return {};
  return "found " + text + ", wanted a whole number of 0 to 18446744073709551615";
}

}  // namespace troupe::deploy
