// Names of the fields a user may write, taken from the Protobuf descriptors.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <string_view>
#include <vector>

namespace troupe::config {

/// What a value of `field` looks like: "an integer", "one of F32, BF16", "a section { ... }".
std::string wanted_value(const google::protobuf::FieldDescriptor& field);

/// Every field below `type` that holds a value, with its path ("train.optimizer.lr").
std::vector<std::string> field_paths(const google::protobuf::Descriptor& type);

/// The field or section below `type` that `path` most likely means: one that ends in it, else one
/// of the same name, else the one with the fewest changed letters.
std::string nearest_field(const google::protobuf::Descriptor& type, std::string_view path);

}  // namespace troupe::config
