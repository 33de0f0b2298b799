#pragma once

#include <stdexcept>
#include <string>

namespace troupe::runtime {

/// A tokenizer file that cannot be read as what it claims to be, or text that cannot be encoded.
class TokenizerError : public std::runtime_error {
 public:
  explicit TokenizerError(const std::string& text) : std::runtime_error(text) {}
};

/// A source of text or tokens that is missing, damaged or not of the stated form.
class DataError : public std::runtime_error {
 public:
  explicit DataError(const std::string& text) : std::runtime_error(text) {}
};

}  // namespace troupe::runtime
