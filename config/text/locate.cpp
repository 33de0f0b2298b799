#include "config/text/locate.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <utility>
#include <vector>

namespace troupe::config {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::io::Tokenizer;

namespace {

class Silent : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, int, const std::string&) override {}
};

/// Follows a textproto token by token.
class Scanner {
 public:
  explicit Scanner(const Descriptor& type) { sections_.push_back({"", &type}); }

  void take(const Tokenizer::Token& token) {
    const std::string& text = token.text;
    if (text == "{" || text == "<") {
      const Descriptor* type = place_.field == nullptr ? nullptr : place_.field->message_type();
      sections_.push_back({place_.path + ".", type});
      in_value_ = false;
    } else if (text == "}" || text == ">") {
      if (sections_.size() > 1) sections_.pop_back();
      in_value_ = false;
    } else if (text == ":") {
      in_value_ = true;
    } else if (text == "[" || text == "]") {
      in_list_ = text == "[";
    } else if (text == "," || text == ";") {
      in_value_ = in_list_;
    } else if (in_value_) {
      take_value(token);
    } else {
      take_name(token);
    }
  }

  /// `token` is where reading stopped: it is the value if one was being waited for.
  FieldPlace stopped_at(const Tokenizer::Token& token) {
    if (in_value_ && token.type != Tokenizer::TYPE_END) take_value(token);
    return place_;
  }

 private:
  struct Section {
    std::string prefix;
    const Descriptor* type;  // null inside an unknown field
  };

  void take_name(const Tokenizer::Token& token) {
    const Section& section = sections_.back();
    place_.path = section.prefix + token.text;
    place_.field = section.type == nullptr ? nullptr : section.type->FindFieldByName(token.text);
    place_.value.clear();
    place_.line = token.line;
    place_.column = token.column;
  }

  void take_value(const Tokenizer::Token& token) {
    const bool signed_value = place_.value == "-";
    if (!signed_value) {
      place_.value.clear();
      place_.line = token.line;
      place_.column = token.column;
    }
    place_.value += token.text;
    in_value_ = in_list_ || place_.value == "-";
  }

  std::vector<Section> sections_;
  FieldPlace place_;
  bool in_value_ = false;
  bool in_list_ = false;
};

}  // namespace

FieldPlace locate(const std::string& text, const Descriptor& type, Position position) {
  google::protobuf::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  Silent silent;
  Tokenizer tokenizer(&stream, &silent);
  tokenizer.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
  tokenizer.set_allow_f_after_float(true);
  Scanner scanner(type);
  while (tokenizer.Next()) {
    const Tokenizer::Token& token = tokenizer.current();
    if (std::pair(token.line, token.column) >= std::pair(position.line, position.column)) break;
    scanner.take(token);
  }
  return scanner.stopped_at(tokenizer.current());
}

}  // namespace troupe::config
