// Where each field of a configuration was written.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <map>
#include <string>
#include <string_view>

namespace troupe::config {

/// Maps a field ("train.optimizer.lr", "data.text[1]") to "file:line:column" or to the setting of
/// the command line.
class Origins {
 public:
  Origins() = default;
  explicit Origins(std::string file) : file_(std::move(file)) {}

  /// Notes every field of `message` that `tree` has a location of.
  void add(const google::protobuf::Message& message,
           const google::protobuf::TextFormat::ParseInfoTree& tree);
  void set(std::string field, std::string place) { places_[std::move(field)] = std::move(place); }

  /// Forgets `field` and all that is below it.
  void erase(std::string_view field);

  /// Takes over what `other` knows below `prefix`, without the prefix.
  void take_below(const Origins& other, std::string_view prefix);

  /// The place of `field`, of the innermost section around it that is known, or the file.
  std::string place(std::string_view field) const;

  const std::string& file() const { return file_; }

 private:
  void add_below(const std::string& prefix, const google::protobuf::Message& message,
                 const google::protobuf::TextFormat::ParseInfoTree& tree);

  std::string file_;
  std::map<std::string, std::string, std::less<>> places_;
};

}  // namespace troupe::config
