#include "kernels/layers/attention/mla.h"

#include <gtest/gtest.h>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/layers.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t rows = 5, sequences = 2;

struct Shape {
  std::string name;
  ModelShape shape;
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

std::vector<Shape> shapes() {
  std::vector<Shape> out{{"QueryRank", small_shape()},
                         {"NoQueryRank", small_shape()},
                         {"Yarn", small_shape()}};
  out[1].shape.q_lora = 0;
  out[2].shape.yarn = small_yarn();
  return out;
}

/// A layer, its input, and what forward and backward of it need.
class Layer {
 public:
  explicit Layer(const ModelShape& s)
      : shape(s), buffers(mla_weights(s)), rope(rope_table(64, s.rope, s.rope_theta, s.yarn)),
        x(normal({sequences * rows, s.hidden}, 1)), dy(normal({sequences * rows, s.hidden}, 2)),
        positions(allocate(DType::i32, {sequences * rows})) {
    for (int64_t i = 0; i < sequences * rows; ++i) {
      values<int32_t>(positions.view)[i] = static_cast<int32_t>(i % rows);
    }
  }

  MlaContext context() const { return {&shape, &rope, softmax_scale(shape.query_width(), shape.yarn)}; }

  MlaForwardArgs forward_args(const Tensor& y) {
    return {.context = context(), .weights = views(buffers), .x = x, .positions = positions,
            .sequence_rows = rows, .y = y};
  }
  MlaBackwardArgs backward_args(const Tensor& dx) {
    return {.context = context(), .weights = views(buffers), .x = x, .positions = positions,
            .sequence_rows = rows, .dy = dy, .dx = dx};
  }

  /// <dy, MLA(x)> of the reference: what backward differentiates.
  double reference(const MlaTensors<Doubles>& w, const Doubles& input) const {
    return inner_product(to_doubles(dy), reference::mla(shape, w, input, rows));
  }

  ModelShape shape;
  MlaTensors<Buffer> buffers;
  RopeTable rope;
  Buffer x, dy, positions;
};

class Mla : public testing::TestWithParam<Shape> {};

TEST_P(Mla, ForwardIsTheReportsFormula) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Layer layer(GetParam().shape);
  const Buffer y = allocate_f32({sequences * rows, layer.shape.hidden});

  mla_forward(queue, scratch, layer.forward_args(y));
  queue.wait();

  const Doubles expected =
      reference::mla(layer.shape, doubles(layer.buffers), to_doubles(layer.x), rows);
  EXPECT_LT(relative_difference(to_doubles(y), expected), 3e-6);
}

TEST_P(Mla, BackwardGivesTheDerivativesOfInputAndWeights) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Layer layer(GetParam().shape);
  const Buffer y = allocate_f32({sequences * rows, layer.shape.hidden});
  const Buffer dx = allocate_f32({sequences * rows, layer.shape.hidden});
  auto sums = sums_for(layer.buffers);

  MlaSaved saved = mla_forward(queue, scratch, layer.forward_args(y));
  const auto args = layer.backward_args(dx);
  const MlaDeltas deltas = mla_backward_inputs(queue, scratch, args, saved);
  mla_backward_weights(queue, scratch, args, saved, deltas, gradients(sums));
  queue.wait();

  const auto weights = doubles(layer.buffers);
  const Doubles expected = finite_differences(
      [&](const Doubles& input) { return layer.reference(weights, input); }, to_doubles(layer.x));
  EXPECT_LT(relative_difference(to_doubles(dx), expected), 1e-5);
  expect_derivatives(sums, weights, [&](const MlaTensors<Doubles>& w) {
    return layer.reference(w, to_doubles(layer.x));
  });
}

// Laws 1 and 2: no thread count and no instruction set shows in forward, dx or a gradient's sum.
TEST_P(Mla, TheBitsAreTheSameEverywhere) {
  Layer layer(GetParam().shape);

  expect_same_bits_everywhere([&](Queue& queue) {
    Scratch scratch;
    const Buffer y = allocate_f32({sequences * rows, layer.shape.hidden});
    const Buffer dx = allocate_f32({sequences * rows, layer.shape.hidden});
    auto sums = sums_for(layer.buffers);
    MlaSaved saved = mla_forward(queue, scratch, layer.forward_args(y));
    const auto args = layer.backward_args(dx);
    const MlaDeltas deltas = mla_backward_inputs(queue, scratch, args, saved);
    mla_backward_weights(queue, scratch, args, saved, deltas, gradients(sums));
    queue.wait();
    std::vector<double> all = to_doubles(y);
    for (const double v : to_doubles(dx)) all.push_back(v);
    for (const auto& [name, sum] : members(sums)) {
      if (!sum->into().is_wanted()) continue;
      for (const double v : sum->values()) all.push_back(v);
    }
    return all;
  });
}

TEST_P(Mla, WeightsThatAreNotTrainedHaveNoGradient) {
  ThreadPool pool(1);
  Queue queue(pool);
  Scratch scratch;
  Layer layer(GetParam().shape);
  const Buffer y = allocate_f32({sequences * rows, layer.shape.hidden});
  const Buffer dx = allocate_f32({sequences * rows, layer.shape.hidden});
  MlaSaved saved = mla_forward(queue, scratch, layer.forward_args(y));
  const auto args = layer.backward_args(dx);
  const MlaDeltas deltas = mla_backward_inputs(queue, scratch, args, saved);
  Sum o(layer.buffers.o.view.count());
  MlaGradients wanted{};
  wanted.o = o.into();

  mla_backward_weights(queue, scratch, args, saved, deltas, wanted);
  queue.wait();

  EXPECT_NE(o.integers(), std::vector<int64_t>(o.integers().size(), 0));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Mla, testing::ValuesIn(shapes()),
                         [](const auto& info) { return info.param.name; });

TEST(MlaArguments, RowsThatAreNoWholeSequencesAreRefused) {
  ThreadPool pool(1);
  Queue queue(pool);
  Scratch scratch;
  Layer layer(small_shape());
  const Buffer y = allocate_f32({sequences * rows, layer.shape.hidden});
  auto args = layer.forward_args(y);
  args.sequence_rows = 4;

  EXPECT_EQ(kernel_error([&] { mla_forward(queue, scratch, args); }),
            "mla_forward: 10 rows are no whole number of 4-row sequences");
}

}  // namespace
}  // namespace troupe::tests
