#include "runtime/checkpoint/header_reader.h"

#include <limits>

#include "runtime/checkpoint/error.h"

namespace troupe::runtime {

void HeaderReader::refuse(const std::string& found, const std::string& wanted) const {
  std::string place;
  if (level_ == Level::tensor || level_ == Level::list) {
    place = "tensor " + tensor_.name + ": " + (key_.empty() ? "" : key_ + ": ");
  } else if (level_ == Level::metadata) {
    place = "__metadata__: ";
  }
  throw CheckpointError(file_ + ": header: " + place + "found " + found + ", wanted " + wanted);
}

std::string HeaderReader::wanted() const {
  switch (level_) {
    case Level::outside:
    case Level::done:
      return "one JSON object";
    case Level::root:
      return "an object { dtype, shape, data_offsets }";
    case Level::metadata:
      return "a text";
    case Level::list:
      return "a whole number of at least 0";
    case Level::tensor:
      break;
  }
  if (key_ == "dtype") return "a dtype's name";
  return "a list of whole numbers";
}

bool HeaderReader::key(string_t& name) {
  if (level_ == Level::root) {
    if (!names_.insert(name).second) refuse("tensor " + name + " twice", "each name once");
    tensor_ = {.name = name, .dtype = FileDType::u8, .shape = {}, .begin = 0, .end = 0};
    return true;
  }
  key_ = name;
  if (!keys_.insert(name).second) refuse(name + " twice", "it once");
  if (level_ == Level::tensor && name != "dtype" && name != "shape" && name != "data_offsets") {
    key_.clear();
    refuse("the key " + name, "dtype, shape and data_offsets alone");
  }
  return true;
}

bool HeaderReader::start_object(size_t) {
  if (level_ != Level::outside && level_ != Level::root) refuse("an object", wanted());
  key_.clear();
  keys_.clear();
  offsets_.clear();
  if (level_ == Level::outside) {
    level_ = Level::root;
  } else {
    level_ = tensor_.name == "__metadata__" ? Level::metadata : Level::tensor;
  }
  return true;
}

bool HeaderReader::end_object() {
  if (level_ == Level::root) {
    level_ = Level::done;
    return true;
  }
  if (level_ == Level::tensor) finish_tensor();
  level_ = Level::root;
  return true;
}

void HeaderReader::finish_tensor() {
  key_.clear();
  for (const char* name : {"dtype", "shape", "data_offsets"}) {
    if (!keys_.contains(name)) refuse(std::string("no ") + name, "it");
  }
  if (offsets_.size() != 2) {
    refuse(std::to_string(offsets_.size()) + " data_offsets", "begin and end");
  }
  tensor_.begin = offsets_[0];
  tensor_.end = offsets_[1];
  header_.tensors.push_back(tensor_);
}

bool HeaderReader::start_array(size_t) {
  if (level_ != Level::tensor || key_ == "dtype") refuse("a list", wanted());
  level_ = Level::list;
  return true;
}

bool HeaderReader::end_array() {
  level_ = Level::tensor;
  return true;
}

bool HeaderReader::string(string_t& text) {
  if (level_ == Level::metadata) {
    header_.metadata[key_] = text;
    return true;
  }
  if (level_ != Level::tensor || key_ != "dtype") refuse("the text '" + text + "'", wanted());
  const auto dtype = dtype_named(text);
  if (!dtype) refuse(text, "a dtype of whole bytes that is known here, as F32, BF16 or F8_E4M3");
  tensor_.dtype = *dtype;
  return true;
}

bool HeaderReader::number_unsigned(number_unsigned_t number) {
  if (level_ != Level::list) refuse(std::to_string(number), wanted());
  if (key_ == "data_offsets") {
    offsets_.push_back(number);
    return true;
  }
  if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    refuse(std::to_string(number), "a shape that fits a file");
  }
  tensor_.shape.push_back(static_cast<int64_t>(number));
  return true;
}

bool HeaderReader::number_integer(number_integer_t number) {
  refuse(std::to_string(number), wanted());
}
bool HeaderReader::number_float(number_float_t, const string_t& text) { refuse(text, wanted()); }
bool HeaderReader::boolean(bool value) { refuse(value ? "true" : "false", wanted()); }
bool HeaderReader::null() { refuse("null", wanted()); }
bool HeaderReader::binary(binary_t&) { refuse("bytes", wanted()); }

bool HeaderReader::parse_error(size_t position, const std::string&,
                               const nlohmann::json::exception&) {
  throw CheckpointError(file_ + ": header: found what is no JSON in UTF-8 at its byte " +
                        std::to_string(position) + ", wanted one JSON object");
}

}  // namespace troupe::runtime
