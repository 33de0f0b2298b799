#include "kernels/tensor.h"

namespace troupe::kernels {
namespace {

template <class P>
BasicTensor<P> column_slice(BasicTensor<P> t, int64_t first, int64_t n) {
  if (first < 0 || n < 0 || first + n > t.cols()) {
    throw KernelError("columns [" + std::to_string(first) + ", " + std::to_string(first + n) +
                      ") of a tensor with " + std::to_string(t.cols()) + " columns");
  }
  using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<P>>, const char, char>;
  t.data = static_cast<Byte*>(t.data) + first * size_of(t.dtype);
  const int64_t rows = t.rows();
  t.rank = 2;
  t.shape = {rows, n, 0, 0};
  return t;
}

template <class P>
BasicTensor<P> row_slice(BasicTensor<P> t, int64_t first, int64_t n) {
  if (first < 0 || n < 0 || first + n > t.rows()) {
    throw KernelError("rows [" + std::to_string(first) + ", " + std::to_string(first + n) +
                      ") of a tensor with " + std::to_string(t.rows()) + " rows");
  }
  using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<P>>, const char, char>;
  t.data = static_cast<Byte*>(t.data) + first * t.row_stride * size_of(t.dtype);
  const int64_t cols = t.cols();
  t.rank = 2;
  t.shape = {n, cols, 0, 0};
  return t;
}

template <class P>
BasicTensor<P> with_shape(BasicTensor<P> t, std::initializer_list<int64_t> shape) {
  BasicTensor<P> out = t;
  out.rank = 0;
  for (int64_t n : shape) out.shape[static_cast<size_t>(out.rank++)] = n;
  out.row_stride = out.cols();
  if (!t.is_contiguous() || out.count() != t.count()) {
    throw KernelError("cannot reshape " + describe({t.data, t.dtype, t.device, t.rank, t.shape,
                                                    t.row_stride}) +
                      " to " + describe({out.data, out.dtype, out.device, out.rank, out.shape,
                                         out.row_stride}));
  }
  return out;
}

Tensor mutable_tensor(BasicTensor<void*> t) {
  Tensor out;
  static_cast<BasicTensor<void*>&>(out) = t;
  return out;
}

std::string shape_text(int rank, const int64_t* shape) {
  std::string text = "[";
  for (int i = 0; i < rank; ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::f8_e4m3:
      return 1;
    case DType::i64:
      return 8;
  }
  return 0;
}

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f8_e4m3:
      return "f8_e4m3";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
  }
  return "?";
}

const char* to_string(Device device) {
  switch (device) {
    case Device::cpu:
      return "cpu";
    case Device::cuda:
      return "cuda";
    case Device::shared:
      return "shared";
  }
  return "?";
}

Tensor columns(const Tensor& t, int64_t first, int64_t n) {
  return mutable_tensor(column_slice<void*>(t, first, n));
}
ConstTensor columns(const ConstTensor& t, int64_t first, int64_t n) {
  return column_slice<const void*>(t, first, n);
}
Tensor row_range(const Tensor& t, int64_t first, int64_t n) {
  return mutable_tensor(row_slice<void*>(t, first, n));
}
ConstTensor row_range(const ConstTensor& t, int64_t first, int64_t n) {
  return row_slice<const void*>(t, first, n);
}
Tensor reshape(const Tensor& t, std::initializer_list<int64_t> shape) {
  return mutable_tensor(with_shape<void*>(t, shape));
}
ConstTensor reshape(const ConstTensor& t, std::initializer_list<int64_t> shape) {
  return with_shape<const void*>(t, shape);
}

std::string describe(const ConstTensor& t) {
  return shape_text(t.rank, t.shape.data()) + " " + to_string(t.dtype);
}

void expect_reachable(const char* what, const ConstTensor& t, Device queue) {
  const Device elsewhere = queue == Device::cuda ? Device::cpu : Device::cuda;
  if (t.device != elsewhere || t.count() == 0 || t.data == nullptr) return;
  throw KernelError(std::string(what) + " " + describe(t) + " is in memory of the " +
                    (queue == Device::cuda ? "host, wanted the GPU's or shared memory"
                                           : "GPU, wanted the host's"));
}

void expect_shape(const char* what, const ConstTensor& t, DType dtype,
                  std::initializer_list<int64_t> shape) {
  bool equal = t.dtype == dtype;
  if (shape.size() == 2) {
    equal = equal && t.rows() == shape.begin()[0] && t.cols() == shape.begin()[1];
  } else {
    equal = equal && t.rank == static_cast<int>(shape.size());
    for (int i = 0; equal && i < t.rank; ++i) {
      equal = t.shape[static_cast<size_t>(i)] == shape.begin()[i];
    }
  }
  if (equal && (t.data != nullptr || t.count() == 0)) return;
  throw KernelError(std::string(what) + " is " + (t.data ? "" : "null ") + describe(t) +
                    ", wanted " + shape_text(static_cast<int>(shape.size()), shape.begin()) + " " +
                    to_string(dtype));
}

}  // namespace troupe::kernels
