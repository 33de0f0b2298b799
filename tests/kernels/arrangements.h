// Runs an operator in every arrangement that must not show in its result: laws 1 and 2.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/kernels/fixtures.h"

namespace troupe::tests {

/// Calls run(queue), which gives a vector of plain numbers, under every instruction set with 1, 2
/// and 5 threads, and expects the same bytes each time. Returns the result.
template <class F>
auto expect_same_bits_everywhere(F run) {
  const IsaGuard guard;
  kernels::cpu::force_isa(kernels::cpu::Isa::portable);
  kernels::ThreadPool single(1);
  kernels::Queue queue(single);
  const auto expected = run(queue);
  for (const kernels::cpu::Isa isa : kernels::cpu::available_isas()) {
    kernels::cpu::force_isa(isa);
    for (const int threads : {1, 2, 5}) {
      kernels::ThreadPool pool(threads);
      kernels::Queue other(pool);
      const auto found = run(other);
      EXPECT_EQ(found.size(), expected.size());
      const size_t bytes = found.size() * sizeof(found[0]);
      EXPECT_TRUE(bytes == 0 || std::memcmp(found.data(), expected.data(), bytes) == 0)
          << to_string(isa) << ", " << threads << " threads";
    }
  }
  return expected;
}

/// The text of the KernelError that `call` throws; "" and a failure if it throws none.
template <class F>
std::string kernel_error(F call) {
  try {
    call();
  } catch (const kernels::KernelError& e) {
    return e.what();
  }
  ADD_FAILURE() << "no KernelError";
  return "";
}

inline kernels::Buffer integers(const std::vector<int32_t>& from,
                                std::initializer_list<int64_t> shape) {
  kernels::Buffer buffer = kernels::allocate(kernels::DType::i32, shape);
  std::copy(from.begin(), from.end(), kernels::values<int32_t>(buffer.view));
  return buffer;
}

inline kernels::Buffer floats(const std::vector<float>& from,
                              std::initializer_list<int64_t> shape) {
  kernels::Buffer buffer = kernels::allocate_f32(shape);
  std::copy(from.begin(), from.end(), kernels::values<float>(buffer.view));
  return buffer;
}

template <class T>
std::vector<T> vector_of(const kernels::ConstTensor& t) {
  std::vector<T> out;
  for (int64_t r = 0; r < t.rows(); ++r) {
    const T* row = kernels::values<T>(t) + r * t.row_stride;
    out.insert(out.end(), row, row + t.cols());
  }
  return out;
}

/// Integers in [0, n), a function of the stream.
inline std::vector<int32_t> random_integers(int64_t count, uint64_t n, uint32_t stream) {
  std::vector<int32_t> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<int32_t>(kernels::random_below({7, kernels::Purpose::test, stream, i}, n));
  }
  return out;
}

}  // namespace troupe::tests
