// Settings of the command line: --set train.steps=200.
#pragma once

#include <google/protobuf/message.h>

#include <span>
#include <string>

#include "config/text/origins.h"

namespace troupe::config {

/// Applies "path=value" settings in order and notes them in `origins`.
///
/// Texts stand without quotes and enumerators by name. The first setting of a repeated field
/// replaces what the file says, further ones append. A section of a list that the file has is named
/// by its number from 0 (data.source[0].weight). A setting of one alternative (model.file,
/// model.huggingface) clears the other. Throws ConfigError that names the nearest field if there is
/// no such path.
void apply_settings(std::span<const std::string> settings, google::protobuf::Message& message,
                    Origins& origins);

}  // namespace troupe::config
