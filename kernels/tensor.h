// Views of memory with a shape. They own nothing: see buffer.h for memory.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace troupe::kernels {

/// A call that cannot be carried out: a wrong shape, dtype or device. Thrown before any work is
/// queued.
class KernelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where a tensor's memory is, and where a queue computes (cpu or cuda). `shared` is memory of the
/// host that the GPU reads and writes in place: tables of integers and single numbers, which both
/// need.
enum class Device : uint8_t { cpu, cuda, shared };
const char* to_string(Device device);
enum class DType : uint8_t { f32, bf16, f8_e4m3, i32, i64 };

/// Bytes of one element.
int64_t size_of(DType dtype);
const char* to_string(DType dtype);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<uint16_t> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::f8_e4m3;
};

/// A dense tensor of up to four dimensions, the last one contiguous. `row_stride` counts the
/// elements from one row (of the last dimension) to the next, so a slice of columns is a tensor
/// too. `Pointer` is `void*` or `const void*`.
template <class Pointer>
struct BasicTensor {
  Pointer data = nullptr;
  DType dtype = DType::f32;
  Device device = Device::cpu;
  int rank = 0;
  std::array<int64_t, 4> shape{};
  int64_t row_stride = 0;

  int64_t cols() const { return rank == 0 ? 1 : shape[static_cast<size_t>(rank - 1)]; }
  int64_t rows() const {
    int64_t n = 1;
    for (int i = 0; i + 1 < rank; ++i) n *= shape[static_cast<size_t>(i)];
    return n;
  }
  int64_t count() const { return rows() * cols(); }
  bool is_contiguous() const { return row_stride == cols() || rows() <= 1; }
};

using ConstTensor = BasicTensor<const void*>;

struct Tensor : BasicTensor<void*> {
  operator ConstTensor() const { return {data, dtype, device, rank, shape, row_stride}; }
};

template <class T>
Tensor tensor(T* data, std::initializer_list<int64_t> shape, int64_t row_stride = 0) {
  Tensor t;
  t.data = data;
  t.dtype = DTypeOf<T>::value;
  for (int64_t n : shape) t.shape[static_cast<size_t>(t.rank++)] = n;
  t.row_stride = row_stride != 0 ? row_stride : t.cols();
  return t;
}

template <class T>
ConstTensor tensor(const T* data, std::initializer_list<int64_t> shape, int64_t row_stride = 0) {
  return tensor(const_cast<T*>(data), shape, row_stride);
}

template <class T>
T* values(const Tensor& t) {
  return static_cast<T*>(t.data);
}
template <class T>
const T* values(const ConstTensor& t) {
  return static_cast<const T*>(t.data);
}

/// Columns [first, first + n) of every row, as a matrix [rows, n].
Tensor columns(const Tensor& t, int64_t first, int64_t n);
ConstTensor columns(const ConstTensor& t, int64_t first, int64_t n);

/// Rows [first, first + n) of the matrix [rows, cols].
Tensor row_range(const Tensor& t, int64_t first, int64_t n);
ConstTensor row_range(const ConstTensor& t, int64_t first, int64_t n);

/// The same elements under another shape; `t` must be contiguous.
Tensor reshape(const Tensor& t, std::initializer_list<int64_t> shape);
ConstTensor reshape(const ConstTensor& t, std::initializer_list<int64_t> shape);

/// "[2, 3] f32".
std::string describe(const ConstTensor& t);

/// Throws KernelError "what is [2, 3] f32, wanted [2, 4] f32" unless dtype and shape agree.
/// A rank-2 want accepts any tensor with those rows() and cols().
void expect_shape(const char* what, const ConstTensor& t, DType dtype,
                  std::initializer_list<int64_t> shape);

/// Throws KernelError if the tensor is in memory that a queue on `queue` does not reach.
void expect_reachable(const char* what, const ConstTensor& t, Device queue);

}  // namespace troupe::kernels
