// Reads a textproto so that every error names file, line, column and field.
#pragma once

#include <google/protobuf/message.h>

#include <filesystem>
#include <string>

#include "config/text/origins.h"

namespace troupe::config {

/// Fills `message`, which must be empty, and returns where its fields stand. Unknown fields, fields
/// written twice, wrong values and files that cannot be read throw ConfigError.
Origins parse_textproto(const std::filesystem::path& file, google::protobuf::Message& message);

/// The same from memory; `name` stands for the file in messages.
Origins parse_textproto(const std::string& name, const std::string& text,
                        google::protobuf::Message& message);

}  // namespace troupe::config
