// config/README.md documents every field with its default.
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "config/proto/run.pb.h"
#include "config/text/fields.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using google::protobuf::FieldDescriptor;

std::string default_of(const FieldDescriptor& field) {
  if (!field.has_default_value()) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(field.default_value_int32());
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(field.default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_BOOL:
      return field.default_value_bool() ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return field.default_value_enum()->name();
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      char text[32];
      std::snprintf(text, sizeof text, "%g", field.default_value_double());
      return text;
    }
    default:
      return "?";
  }
}

const FieldDescriptor* field_at(const google::protobuf::Descriptor* type, std::string_view path) {
  const size_t dot = path.find('.');
  const FieldDescriptor* field = type->FindFieldByName(std::string(path.substr(0, dot)));
  if (dot == std::string_view::npos) return field;
  return field_at(field->message_type(), path.substr(dot + 1));
}

std::string read(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Numbers as printf's %g writes them, so that 0.0001 and 1e-4 are the same.
std::string normal_form(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0') return text;
  char out[32];
  std::snprintf(out, sizeof out, "%g", number);
  return out;
}

TEST(Readme, DocumentsEveryFieldAndItsDefault) {
  const std::string readme = read(source_file("config/README.md"));
  const auto& run = *Run::descriptor();

  int documented = 0;
  for (const std::string& path : field_paths(run)) {
    const bool of_model = path.starts_with("model.with.");
    const std::string name = of_model ? path.substr(std::string("model.with.").size()) : path;
    const std::string row = "| `" + name + "` | ";
    const size_t at = readme.find(row);
    ASSERT_NE(at, std::string::npos) << "config/README.md has no row that begins with " << row;
    const size_t begin = at + row.size();
    const std::string cell = readme.substr(begin, readme.find(" |", begin) - begin);
    const std::string wanted = default_of(*field_at(&run, path));
    if (!wanted.empty()) {
      EXPECT_EQ(normal_form(cell), normal_form(wanted)) << name;
    } else {
      EXPECT_TRUE(cell == "none" || cell == "planned" || cell == "unset") << name << ": " << cell;
    }
    ++documented;
  }
  EXPECT_GT(documented, 60);
}

}  // namespace
}  // namespace troupe::config
