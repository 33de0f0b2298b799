// Finds the field that a position in a textproto belongs to: Protobuf reports positions alone.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>

namespace troupe::config {

struct FieldPlace {
  std::string path;                                          ///< empty: before the first field
  const google::protobuf::FieldDescriptor* field = nullptr;  ///< null: there is no such field
  std::string value;  ///< as written; empty if no value was read
  int line = 0;       ///< of the value, or of the name if there is none; from 0
  int column = 0;     ///< from 0
};

struct Position {
  int line;    ///< from 0
  int column;  ///< from 0
};

/// The field whose name was read last before `position`, and its value: the token at that position
/// or, if the value was read already, the one before.
FieldPlace locate(const std::string& text, const google::protobuf::Descriptor& type,
                  Position position);

}  // namespace troupe::config
