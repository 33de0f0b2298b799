#include "config/text/origins.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <vector>

namespace troupe::config {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

void Origins::add(const Message& message, const TextFormat::ParseInfoTree& tree) {
  add_below("", message, tree);
}

void Origins::add_below(const std::string& prefix, const Message& message,
                        const TextFormat::ParseInfoTree& tree) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const int index = field->is_repeated() ? i : -1;
      const std::string suffix = field->is_repeated() ? fmt::format("[{}]", i) : "";
      const std::string name = prefix + field->name() + suffix;
      const auto at = tree.GetLocation(field, index);
      if (at.line >= 0) set(name, fmt::format("{}:{}:{}", file_, at.line + 1, at.column + 1));
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      const auto* nested = tree.GetTreeForNested(field, index);
      const Message& child = field->is_repeated()
                                 ? reflection->GetRepeatedMessage(message, field, i)
                                 : reflection->GetMessage(message, field);
      if (nested != nullptr) add_below(name + ".", child, *nested);
    }
  }
}

void Origins::erase(std::string_view field) {
  std::erase_if(places_, [&](const auto& entry) {
    const std::string_view name = entry.first;
    return name == field || (name.starts_with(field) && name.size() > field.size() &&
                             (name[field.size()] == '.' || name[field.size()] == '['));
  });
}

void Origins::take_below(const Origins& other, std::string_view prefix) {
  for (const auto& [name, place] : other.places_) {
    if (name.size() > prefix.size() + 1 && name.starts_with(prefix) && name[prefix.size()] == '.') {
      places_[name.substr(prefix.size() + 1)] = place;
    }
  }
}

std::string Origins::place(std::string_view field) const {
  while (!field.empty()) {
    if (auto found = places_.find(field); found != places_.end()) return found->second;
    const size_t cut = field.find_last_of(".[");
    field = cut == std::string_view::npos ? std::string_view{} : field.substr(0, cut);
  }
  return file_;
}

}  // namespace troupe::config
