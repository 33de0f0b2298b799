#include "kernels/layers/attention/gqa.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/layers.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t rows = 5, sequences = 2, T = rows * sequences;

struct Shape {
  std::string name;
  ModelShape shape;
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

std::vector<Shape> shapes() {
  std::vector<Shape> out{{"ThreeHeadsAKey", small_gqa_shape(6, 2)},
                         {"OneKeyForAll", small_gqa_shape(3, 1)},
                         {"MultiHead", small_gqa_shape(2, 2)},
                         {"Yarn", small_gqa_shape(4, 2)}};
  out[3].shape.yarn = small_yarn();
  return out;
}

constexpr Precision precisions[] = {Precision::fp32, Precision::bf16, Precision::fp8};

/// A layer, its input, and what forward and backward of it need.
class Layer {
 public:
  explicit Layer(const ModelShape& s)
      : shape(s), buffers(gqa_weights(s)), rope(rope_table(96, s.rope, s.rope_theta, s.yarn)),
        x(normal({T, s.hidden}, 1)), dy(normal({T, s.hidden}, 2)),
        positions(integers({0, 1, 2, 3, 4, 0, 1, 2, 3, 4}, {T})) {}

  MlaContext context() const {
    return {.shape = &shape, .rope = &rope,
            .scale = softmax_scale(shape.query_width(), shape.yarn), .precision = precision};
  }
  GqaForwardArgs forward_args(const Tensor& y) {
    return {.context = context(), .weights = views(buffers), .x = x, .positions = positions,
            .sequence_rows = rows, .y = y};
  }
  GqaBackwardArgs backward_args(const Tensor& dx) {
    return {.context = context(), .weights = views(buffers), .x = x, .positions = positions,
            .sequence_rows = rows, .dy = dy, .dx = dx};
  }
  /// <dy, GQA(x)> of the reference: what backward differentiates.
  double reference(const GqaTensors<Doubles>& w, const Doubles& input) const {
    return inner_product(to_doubles(dy), reference::gqa(shape, w, input, rows));
  }

  ModelShape shape;
  Precision precision = Precision::fp32;
  GqaTensors<Buffer> buffers;
  RopeTable rope;
  Buffer x, dy, positions;
};

/// y, dx and the gradients of all weights.
Doubles forward_and_backward(Queue& queue, Layer& layer) {
  Scratch scratch;
  const Buffer y = allocate_f32({T, layer.shape.hidden}), dx = allocate_f32({T, layer.shape.hidden});
  auto sums = sums_for(layer.buffers);
  const GqaSaved saved = gqa_forward(queue, scratch, layer.forward_args(y));
  const auto args = layer.backward_args(dx);
  const GqaDeltas deltas = gqa_backward_inputs(queue, scratch, args, saved);
  gqa_backward_weights(queue, scratch, args, saved, deltas, gradients(sums));
  queue.wait();
  Doubles all = to_doubles(y);
  for (const double v : to_doubles(dx)) all.push_back(v);
  for (const auto& [name, sum] : members(sums)) {
    for (const double v : sum->values()) all.push_back(v);
  }
  return all;
}

class Gqa : public testing::TestWithParam<Shape> {};

TEST_P(Gqa, ForwardIsTheFormula) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Layer layer(GetParam().shape);
  const Buffer y = allocate_f32({T, layer.shape.hidden});

  gqa_forward(queue, scratch, layer.forward_args(y));
  queue.wait();

  const Doubles expected =
      reference::gqa(layer.shape, doubles(layer.buffers), to_doubles(layer.x), rows);
  EXPECT_LT(relative_difference(to_doubles(y), expected), 3e-6);
}

TEST_P(Gqa, BackwardGivesTheDerivativesOfInputAndWeights) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Layer layer(GetParam().shape);
  const Buffer y = allocate_f32({T, layer.shape.hidden}), dx = allocate_f32({T, layer.shape.hidden});
  auto sums = sums_for(layer.buffers);

  const GqaSaved saved = gqa_forward(queue, scratch, layer.forward_args(y));
  const auto args = layer.backward_args(dx);
  const GqaDeltas deltas = gqa_backward_inputs(queue, scratch, args, saved);
  gqa_backward_weights(queue, scratch, args, saved, deltas, gradients(sums));
  queue.wait();

  const auto weights = doubles(layer.buffers);
  const Doubles expected = finite_differences(
      [&](const Doubles& input) { return layer.reference(weights, input); }, to_doubles(layer.x));
  EXPECT_LT(relative_difference(to_doubles(dx), expected), 1e-5);
  expect_derivatives(sums, weights, [&](const GqaTensors<Doubles>& w) {
    return layer.reference(w, to_doubles(layer.x));
  });
}

// Laws 1 and 2: no thread count and no instruction set shows in forward, dx or a gradient's sum.
TEST_P(Gqa, TheBitsAreTheSameEverywhere) {
  Layer layer(GetParam().shape);
  for (const Precision precision : precisions) {
    layer.precision = precision;
    expect_same_bits_everywhere([&](Queue& queue) { return forward_and_backward(queue, layer); });
  }
}

// Rounded operands give something else than FP32, near it.
TEST_P(Gqa, PrecisionsDifferByTheirRounding) {
  Layer layer(GetParam().shape);
  ThreadPool pool(2);
  Queue queue(pool);
  const Doubles fp32 = forward_and_backward(queue, layer);

  for (const auto& [precision, bound] :
       {std::pair{Precision::bf16, 0.02}, std::pair{Precision::fp8, 0.15}}) {
    layer.precision = precision;
    const double difference = relative_difference(forward_and_backward(queue, layer), fp32);
    EXPECT_LT(difference, bound) << to_string(precision);
    EXPECT_GT(difference, bound / 40) << to_string(precision);
  }
}

/// The whole of x in calls of the given sizes.
std::vector<float> in_calls(Layer& layer, const Buffer& x, int64_t page_rows,
                            const std::vector<int64_t>& calls) {
  ThreadPool pool(2);
  Queue queue(pool);
  LayerCache cache{.page_rows = page_rows, .length = 0, .pages = {}};
  const int64_t D = layer.shape.hidden;
  std::vector<float> all;
  for (const int64_t n : calls) {
    Scratch scratch;
    const Buffer y = allocate_f32({n, D}), positions = allocate(DType::i32, {n});
    const int64_t first = cache.length;
    std::iota(values<int32_t>(positions.view), values<int32_t>(positions.view) + n, first);
    gqa_cached(queue, scratch,
               {.context = layer.context(), .weights = views(layer.buffers),
                .x = row_range(ConstTensor(x), first, n), .positions = positions,
                .sequences = {{n, &cache}}, .y = y});
    queue.wait();
    for (const float v : to_vector(y)) all.push_back(v);
  }
  return all;
}

/// One sequence of all rows of x.
std::vector<float> training_forward(Layer& layer, const Buffer& x) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  const int64_t n = x.view.rows();
  const Buffer y = allocate_f32({n, layer.shape.hidden}), positions = allocate(DType::i32, {n});
  std::iota(values<int32_t>(positions.view), values<int32_t>(positions.view) + n, 0);
  gqa_forward(queue, scratch, {.context = layer.context(), .weights = views(layer.buffers), .x = x,
                               .positions = positions, .sequence_rows = n, .y = y});
  queue.wait();
  return to_vector(y);
}

// Law 1: training, prefill at once, in pieces of any size and decode are one function.
TEST_P(Gqa, CutsAndPagesDoNotShow) {
  constexpr int64_t length = 75;  // more than one tile of keys and one page
  Layer layer(GetParam().shape);
  for (const Precision precision : precisions) {
    layer.precision = precision;
    const Buffer x = normal({length, layer.shape.hidden}, 11);
    const auto trained = training_forward(layer, x);

    EXPECT_TRUE(same_bits(in_calls(layer, x, 64, {length}), trained)) << to_string(precision);
    EXPECT_TRUE(same_bits(in_calls(layer, x, 64, std::vector<int64_t>(length, 1)), trained));
    EXPECT_TRUE(same_bits(in_calls(layer, x, 7, {40, 1, 0, 34}), trained));
    EXPECT_TRUE(same_bits(in_calls(layer, x, 1, {3, 72}), trained));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Gqa, testing::ValuesIn(shapes()),
                         [](const auto& info) { return info.param.name; });

TEST(GqaArguments, WrongRowsAreRefusedAndChangeNoCache) {
  ThreadPool pool(1);
  Queue queue(pool);
  Scratch scratch;
  Layer layer(small_gqa_shape(4, 2));
  const Buffer y = allocate_f32({T, layer.shape.hidden});
  auto args = layer.forward_args(y);
  args.sequence_rows = 4;
  EXPECT_EQ(kernel_error([&] { gqa_forward(queue, scratch, args); }),
            "gqa_forward: 10 rows are no whole number of 4-row sequences");

  LayerCache cache;
  GqaCachedArgs cached{.context = layer.context(), .weights = views(layer.buffers), .x = layer.x,
                       .positions = layer.positions, .sequences = {{9, &cache}}, .y = y};
  EXPECT_EQ(kernel_error([&] { gqa_cached(queue, scratch, cached); }),
            "gqa_cached: 10 rows, its sequences have 9");
  cached.sequences = {{10, &cache}};
  layer.shape.max_positions = 9;
  EXPECT_EQ(kernel_error([&] { gqa_cached(queue, scratch, cached); }),
            "a sequence of 10 positions, the model has 9");
  EXPECT_EQ(cache.length, 0);
}

}  // namespace
}  // namespace troupe::tests
