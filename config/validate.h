// What a configuration must fulfil beyond its types.
#pragma once

#include "config/load.h"

namespace troupe::config {

/// Throws ConfigError with a line for every value of the model that is missing, out of range or
/// does not fit another.
void validate(const LoadedModel& model);

/// The same for a training run and its model, which must be valid.
void validate(const LoadedRun& run, const LoadedModel& model);

/// Refuses by name what can be planned and not be trained yet.
void validate_available(const LoadedRun& run);

/// Throws ConfigError if a file that the run reads is missing.
void validate_files(const LoadedRun& run);

}  // namespace troupe::config
