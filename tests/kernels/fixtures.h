// What the kernel tests share: filled tensors, bitwise comparison, every instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/cpu/simd/isa.h"
#include "kernels/queue.h"
#include "kernels/random.h"

namespace troupe::tests {

/// Standard normal values of a stream, times `scale`.
inline kernels::Buffer normal(std::initializer_list<int64_t> shape, uint32_t stream,
                              float scale = 1.0f) {
  kernels::Buffer buffer = kernels::allocate_f32(shape);
  float* out = kernels::values<float>(buffer.view);
  for (int64_t i = 0; i < buffer.view.count(); ++i) {
    out[i] = scale * static_cast<float>(kernels::random_normal(
                         {7, kernels::Purpose::test, stream, static_cast<uint64_t>(i)}));
  }
  return buffer;
}

inline std::vector<float> to_vector(const kernels::ConstTensor& t) {
  std::vector<float> out;
  for (int64_t r = 0; r < t.rows(); ++r) {
    const float* row = kernels::values<float>(t) + r * t.row_stride;
    out.insert(out.end(), row, row + t.cols());
  }
  return out;
}

inline std::vector<double> to_doubles(const kernels::ConstTensor& t) {
  const std::vector<float> floats = to_vector(t);
  return {floats.begin(), floats.end()};
}

/// Equal bit for bit (NaN and signed zeros included).
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Restores the instruction set at the end of a test.
class IsaGuard {
 public:
  ~IsaGuard() { kernels::cpu::force_isa(before_); }

 private:
  const kernels::cpu::Isa before_ = kernels::cpu::current_isa();
};

}  // namespace troupe::tests
