// What is thrown when something a user wrote cannot be used.
#pragma once

#include <stdexcept>
#include <string>

namespace troupe::config {

/// Each line of the text is "PLACE: FIELD: found X, wanted Y", PLACE being file:line:column or the
/// setting of the command line.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Problem {
  std::string place;  ///< empty: not known
  std::string field;
  std::string found;
  std::string wanted;
};

/// "PLACE: FIELD: found X, wanted Y".
std::string describe(const Problem& problem);

}  // namespace troupe::config
