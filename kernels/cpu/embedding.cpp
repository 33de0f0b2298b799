#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/embedding.h"
#include "kernels/profile.h"

#include <string>

#define TROUPE_ISA_FILE "kernels/cpu/embedding.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

int64_t checked_id(const char* what, const ConstTensor& ids, int64_t t, int64_t V) {
  const int64_t id = values<int32_t>(ids)[t];
  if (id >= 0 && id < V) return id;
  throw KernelError(std::string(what) + " id " + std::to_string(id) + " at row " +
                    std::to_string(t) + ", wanted 0 to " + std::to_string(V - 1));
}

}  // namespace

void embed(Queue& queue, const EmbedArgs& args) {
  const OperatorLabel label("embed");
  const int64_t T = args.y.rows(), D = args.y.cols(), V = args.weight.rows();
  expect_shape("embed ids", args.ids, DType::i32, {T});
  expect_shape("embed weight", args.weight, DType::f32, {V, D});
  expect_shape("embed y", args.y, DType::f32, {T, D});
  if (queue.is_cuda()) return cuda::embed(queue, args);
  const int64_t parts = part_count(queue, T, D);
  queue.run(parts, [args, T, D, V, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t id = checked_id("embed", args.ids, t, V);
      std::memcpy(values<float>(args.y) + t * args.y.row_stride,
                  values<float>(args.weight) + id * args.weight.row_stride,
                  static_cast<size_t>(D) * sizeof(float));
    }
  });
}

void embed_backward_weights(Queue& queue, const EmbedWeightGradientArgs& args) {
  const OperatorLabel label("embed_backward_weights");
  const int64_t T = args.dy.rows(), D = args.dy.cols(), V = args.dweight.rows();
  expect_shape("embed_backward_weights ids", args.ids, DType::i32, {T});
  expect_shape("embed_backward_weights dy", args.dy, DType::f32, {T, D});
  expect_shape("embed_backward_weights dweight", args.dweight, DType::f32, {V, D});
  const int64_t groups = (D + 15) / 16;  // parts own columns: each sum stays one chain over rows
  if (queue.is_cuda()) return cuda::embed_backward_weights(queue, args);
  const int64_t parts = part_count(queue, groups, (T + V) * 16);
  queue.run(parts, [args, T, D, V, groups, parts](int64_t part) {
    const auto range = part_range(groups, parts, part);
    const int64_t begin = range.begin * 16, end = std::min(D, range.end * 16);
    for (int64_t v = 0; v < V; ++v) {
      std::memset(values<float>(args.dweight) + v * args.dweight.row_stride + begin, 0,
                  static_cast<size_t>(end - begin) * sizeof(float));
    }
    for (int64_t t = 0; t < T; ++t) {
      const int64_t id = checked_id("embed_backward_weights", args.ids, t, V);
      TROUPE_ISA_CALL(add_columns)
      (values<float>(args.dy) + t * args.dy.row_stride + begin,
       values<float>(args.dweight) + id * args.dweight.row_stride + begin, end - begin);
    }
  });
}

}  // namespace troupe::kernels

#else

inline void add_columns(const float* dy, float* dweight, int64_t count) {
  for_lanes(count, [&](int64_t i, int n) {
    store_lanes(dweight + i, load_lanes(dweight + i, n) + load_lanes(dy + i, n), n);
  });
}

#endif
