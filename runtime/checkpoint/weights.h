// Where a model's weights come from and go to, tensor by tensor under their Hugging Face names.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::runtime {

struct WeightInfo {
  std::string name;            ///< "model.layers.3.mlp.gate.weight"
  std::vector<int64_t> shape;  ///< [out, in] or [n]

  int64_t count() const {
    int64_t n = 1;
    for (int64_t extent : shape) n *= extent;
    return n;
  }
};

/// Hands out weights as f32. May be read from several threads at once.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// Every tensor of the model once: the trained ones and the routing biases.
  virtual const std::vector<WeightInfo>& list() const = 0;

  /// Fills `out`, which has the tensor's count. Throws CheckpointError.
  virtual void read_f32(std::string_view name, std::span<float> out) const = 0;
};

/// Takes weights as f32, in any order, each tensor once.
class WeightSink {
 public:
  virtual ~WeightSink() = default;

  /// Every tensor that must be written.
  virtual const std::vector<WeightInfo>& list() const = 0;

  /// Throws CheckpointError.
  virtual void write_f32(std::string_view name, std::span<const float> values) = 0;

  /// Makes all of it durable and visible. Without it nothing remains.
  virtual void finish() = 0;
};

}  // namespace troupe::runtime
