// What a configuration must fulfil beyond its types.
#pragma once

#include "config/load.h"

namespace troupe::config {

/// Throws ConfigError with a line for every value of the model that is missing, out of range or
/// does not fit another.
void validate(const LoadedModel& model);

/// The same for a training run and its model, which must be valid. Fields of features that are not
/// there yet are refused by name.
void validate(const LoadedRun& run, const LoadedModel& model);

/// Throws ConfigError if a file that the run reads is missing.
void validate_files(const LoadedRun& run);

}  // namespace troupe::config
