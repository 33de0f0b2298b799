#pragma once

#include <stdexcept>

namespace troupe::runtime {

/// A file of weights or a model folder that is missing, damaged or does not fit the model.
class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace troupe::runtime
