#include "runtime/data/jsonl.h"

#include <nlohmann/json.hpp>

#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

using nlohmann::json;

/// One line and where it stands.
struct Record {
  json value;
  std::string place;

  [[noreturn]] void fail(const std::string& problem) const {
    throw DataError(place + ": " + problem);
  }

  bool has(const char* key) const { return value.contains(key); }

  std::string text(const json& object, const char* key) const {
    const auto member = object.find(key);
    if (member == object.end()) fail(std::string("\"") + key + "\" is missing");
    if (!member->is_string()) {
      fail(std::string("\"") + key + "\" is " + member->type_name() + "; a string is wanted");
    }
    return member->get<std::string>();
  }
};

Role read_role(const Record& record, const std::string& name) {
  if (name == "system") return Role::system;
  if (name == "user") return Role::user;
  if (name == "assistant") return Role::assistant;
  record.fail("role \"" + name + "\"; system, user or assistant is wanted");
}

Document read_messages(const Record& record) {
  const json& messages = record.value["messages"];
  if (!messages.is_array() || messages.empty()) {
    record.fail("\"messages\" is no list with messages in it");
  }
  Document document;
  for (const json& message : messages) {
    if (!message.is_object()) record.fail("a message is no object");
    const Role role = read_role(record, record.text(message, "role"));
    document.turns.push_back({role, record.text(message, "content")});
  }
  return document;
}

Document read_record(const Record& record) {
  if (!record.value.is_object()) record.fail("not a JSON object");
  const bool is_pair = record.has("prompt") || record.has("completion");
  if (record.has("text") + record.has("messages") + is_pair != 1) {
    record.fail("one of \"text\", \"messages\", and \"prompt\" with \"completion\" is wanted");
  }
  if (record.has("messages")) return read_messages(record);
  if (record.has("text")) return {{{Role::text, record.text(record.value, "text")}}};
  return {{{Role::prompt, record.text(record.value, "prompt")},
           {Role::completion, record.text(record.value, "completion")}}};
}

}  // namespace

std::vector<Document> read_jsonl(std::string_view text, const std::string& name) {
  std::vector<Document> documents;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Record record{nullptr, name + ":" + std::to_string(number)};
    try {
      record.value = json::parse(line);
    } catch (const json::exception& error) {
      record.fail(std::string("not JSON: ") + error.what());
    }
    documents.push_back(read_record(record));
  }
  return documents;
}

}  // namespace troupe::runtime
