#include "config/text/fields.h"

#include <algorithm>
#include <numeric>

namespace troupe::config {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

namespace {

/// Appends the paths of values and, if wanted, of sections, a section before what is in it.
void collect(const Descriptor& type, const std::string& prefix, bool sections,
             std::vector<std::string>& out) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.message_type() == nullptr || sections) out.push_back(prefix + field.name());
    if (field.message_type() != nullptr) {
      collect(*field.message_type(), prefix + field.name() + ".", sections, out);
    }
  }
}

std::string ending(std::string_view path) {
  const size_t dot = path.rfind('.');
  return "." + std::string(dot == std::string_view::npos ? path : path.substr(dot + 1));
}

/// Letters to insert, remove or replace to come from `a` to `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string wanted_value(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return "an integer of at most 2147483647";
    case FieldDescriptor::CPPTYPE_INT64:
      return "an integer";
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return "an integer of at least 0";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_STRING:
      return "a text in quotes";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a section { ... }";
    case FieldDescriptor::CPPTYPE_ENUM:
      break;
  }
  std::string text = "one of ";
  for (int i = 0; i < field.enum_type()->value_count(); ++i) {
    text += (i == 0 ? "" : ", ") + field.enum_type()->value(i)->name();
  }
  return text;
}

std::vector<std::string> field_paths(const Descriptor& type) {
  std::vector<std::string> paths;
  collect(type, "", false, paths);
  return paths;
}

std::string nearest_field(const Descriptor& type, std::string_view path) {
  std::vector<std::string> paths;
  collect(type, "", true, paths);
  for (const std::string& tail : {"." + std::string(path), ending(path)}) {
    for (const std::string& candidate : paths) {
      if (tail.size() > 1 && candidate.ends_with(tail)) return candidate;
    }
  }
  return *std::min_element(paths.begin(), paths.end(), [&](const auto& a, const auto& b) {
    return edit_distance(path, a) < edit_distance(path, b);
  });
}

}  // namespace troupe::config
