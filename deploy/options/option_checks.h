// Checks of options that CLI11's own let pass.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace troupe::deploy {

/// A number from `low` to `high`, both included. CLI::Range lets NaN pass.
CLI::Validator in_range(double low, double high);

/// A whole number of 64 bits that is not negative. CLI11 reads -1 as 2^64 - 1.
std::string is_natural(const std::string& text);

}  // namespace troupe::deploy
