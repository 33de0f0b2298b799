#pragma once

#include <stdexcept>

namespace troupe::runtime {

/// Processes that do not find, take or keep each other; the text says who, what and why.
class ClusterError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace troupe::runtime
