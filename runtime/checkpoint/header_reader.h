// Follows the JSON of a safetensors header event by event, so that duplicate names are seen and
// nothing that the format does not have is built.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "runtime/checkpoint/safetensors_header.h"

namespace troupe::runtime {

/// The dtype that stands as `name` in a file.
std::optional<FileDType> dtype_named(std::string_view name);

/// Handler for nlohmann::json::sax_parse. Its functions throw CheckpointError.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  /// The header, its offsets as they stand in the file.
  SafetensorsHeader take() { return std::move(header_); }

  bool key(string_t& name) override;
  bool start_object(size_t) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool string(string_t& text) override;
  bool number_unsigned(number_unsigned_t number) override;
  bool number_integer(number_integer_t number) override;
  bool number_float(number_float_t, const string_t& text) override;
  bool boolean(bool) override;
  bool null() override;
  bool binary(binary_t&) override;
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override;

 private:
  enum class Level { outside, root, tensor, metadata, list, done };

  [[noreturn]] void refuse(const std::string& found, const std::string& wanted) const;
  /// What is expected where the reader stands.
  std::string wanted() const;
  void finish_tensor();

  const std::string& file_;
  SafetensorsHeader header_;
  Level level_ = Level::outside;
  std::set<std::string> names_;
  TensorEntry tensor_;
  std::string key_;             // within a tensor or the metadata
  std::set<std::string> keys_;  // seen in this tensor
  std::vector<uint64_t> offsets_;
};

}  // namespace troupe::runtime
