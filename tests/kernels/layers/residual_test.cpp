#include "kernels/layers/residual.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/layers.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t rows = 4, sequences = 2, T = rows * sequences;

struct Block {
  ModelShape shape = small_shape();
  MlaTensors<Buffer> buffers = mla_weights(shape);
  Buffer norm = normal({shape.hidden}, 90);
  RopeTable rope = rope_table(rows, shape.rope, shape.rope_theta, shape.yarn);
  Buffer x = normal({T, shape.hidden}, 91), dy = normal({T, shape.hidden}, 92);
  Buffer positions = integers({0, 1, 2, 3, 0, 1, 2, 3}, {T});
  Buffer y = allocate_f32({T, shape.hidden}), dx = allocate_f32({T, shape.hidden});

  MlaContext context() const {
    return {&shape, &rope, softmax_scale(shape.query_width(), shape.yarn)};
  }
  AttentionBlockArgs args() {
    return {.context = context(), .weights = {norm, views(buffers)}, .x = x,
            .positions = positions, .sequence_rows = rows};
  }
  Doubles reference(const Doubles& input_norm, const MlaTensors<Doubles>& w,
                    const Doubles& at) const {
    Doubles out =
        reference::mla(shape, w, reference::rms_norm(at, input_norm, shape.rms_eps), rows);
    for (size_t i = 0; i < out.size(); ++i) out[i] += at[i];
    return out;
  }
};

TEST(AttentionBlock, AddsAttentionOfTheNormedStreamToTheStream) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Block block;

  attention_block_forward(queue, scratch, block.args(), block.y);
  queue.wait();

  const Doubles expected =
      block.reference(to_doubles(block.norm), doubles(block.buffers), to_doubles(block.x));
  EXPECT_LT(relative_difference(to_doubles(block.y), expected), 3e-6);
}

TEST(AttentionBlock, BackwardGivesTheDerivativesOfStreamAndWeights) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Block block;
  auto sums = sums_for(block.buffers);
  const Sum norm_sum(block.shape.hidden);

  AttentionBlockSaved saved = attention_block_forward(queue, scratch, block.args(), block.y);
  attention_block_backward_inputs(queue, scratch, block.args(), saved, block.dy, block.dx);
  attention_block_backward_weights(queue, scratch, block.args(), saved, block.dy,
                                   {norm_sum.into(), gradients(sums)});
  queue.wait();

  const Doubles norm = to_doubles(block.norm), x = to_doubles(block.x), dy = to_doubles(block.dy);
  const auto weights = doubles(block.buffers);
  const Doubles of_x = finite_differences(
      [&](const Doubles& at) { return inner_product(dy, block.reference(norm, weights, at)); }, x);
  const Doubles of_norm = finite_differences(
      [&](const Doubles& at) { return inner_product(dy, block.reference(at, weights, x)); }, norm);
  EXPECT_LT(relative_difference(to_doubles(block.dx), of_x), 1e-5);
  EXPECT_LT(relative_difference(norm_sum.values(), of_norm), 1e-5);
  expect_derivatives(sums, weights, [&](const MlaTensors<Doubles>& w) {
    return inner_product(dy, block.reference(norm, w, x));
  });
}

// Law 1: decode of a block has the bits of its training forward.
TEST(AttentionBlock, OverCachesItIsTheSameFunction) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Block block;
  attention_block_forward(queue, scratch, block.args(), block.y);
  queue.wait();
  LayerCache cache{.page_rows = 3, .length = 0, .pages = {}};
  std::vector<float> cached;

  for (int64_t row = 0; row < rows; ++row) {
    const Buffer y = allocate_f32({1, block.shape.hidden});
    attention_block_cached(queue, scratch,
                           {.context = block.context(), .weights = {block.norm, views(block.buffers)},
                            .form = AttentionForm::expanded,
                            .x = row_range(ConstTensor(block.x), row, 1),
                            .positions = integers({static_cast<int32_t>(row)}, {1}),
                            .sequences = {{1, &cache}}},
                           y);
    queue.wait();
    for (const float v : to_vector(y)) cached.push_back(v);
  }

  EXPECT_TRUE(same_bits(cached, to_vector(row_range(block.y.view, 0, rows))));
}

// The shape chooses the attention: forward, backward and caches are GQA's.
TEST(AttentionBlock, OfAGroupedShapeIsGqaThroughout) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Block block;
  block.shape = small_gqa_shape(4, 2);
  block.rope = rope_table(rows, block.shape.rope, block.shape.rope_theta, block.shape.yarn);
  auto buffers = gqa_weights(block.shape);
  auto sums = sums_for(buffers);
  const Sum norm_sum(block.shape.hidden);
  AttentionBlockArgs args = block.args();
  args.weights = {.input_norm = block.norm, .gqa = views(buffers)};
  const Doubles norm = to_doubles(block.norm), dy = to_doubles(block.dy);
  const auto reference = [&](const GqaTensors<Doubles>& w, const Doubles& at) {
    Doubles out = reference::gqa(block.shape, w,
                                 reference::rms_norm(at, norm, block.shape.rms_eps), rows);
    for (size_t i = 0; i < out.size(); ++i) out[i] += at[i];
    return out;
  };

  AttentionBlockSaved saved = attention_block_forward(queue, scratch, args, block.y);
  attention_block_backward_inputs(queue, scratch, args, saved, block.dy, block.dx);
  attention_block_backward_weights(queue, scratch, args, saved, block.dy,
                                   {.input_norm = norm_sum.into(), .gqa = gradients(sums)});
  LayerCache cache{.page_rows = 3, .length = 0, .pages = {}};
  const Buffer cached = allocate_f32({rows, block.shape.hidden});
  const Buffer positions = integers({0, 1, 2, 3}, {rows});
  CachedBlockArgs over_cache{.context = args.context, .weights = args.weights,
                             .form = AttentionForm::expanded,
                             .x = row_range(ConstTensor(block.x), 0, rows),
                             .positions = positions, .sequences = {{rows, &cache}}};
  attention_block_cached(queue, scratch, over_cache, cached);
  queue.wait();

  const auto weights = doubles(buffers);
  const Doubles x = to_doubles(block.x);
  EXPECT_LT(relative_difference(to_doubles(block.y), reference(weights, x)), 3e-6);
  EXPECT_TRUE(same_bits(to_vector(cached), to_vector(row_range(block.y.view, 0, rows))));
  const Doubles of_x = finite_differences(
      [&](const Doubles& at) { return inner_product(dy, reference(weights, at)); }, x);
  EXPECT_LT(relative_difference(to_doubles(block.dx), of_x), 1e-5);
  expect_derivatives(sums, weights, [&](const GqaTensors<Doubles>& w) {
    return inner_product(dy, reference(w, x));
  });
  const auto dx_kept = to_vector(block.dx);
  args.context.recompute = true;
  saved = attention_block_forward(queue, scratch, args, block.y);
  EXPECT_EQ(saved.norm.y.data, nullptr);
  attention_block_backward_inputs(queue, scratch, args, saved, block.dy, block.dx);
  queue.wait();
  EXPECT_TRUE(same_bits(to_vector(block.dx), dx_kept)) << "the norm is computed again";
  over_cache.form = AttentionForm::absorbed;
  EXPECT_EQ(kernel_error([&] { attention_block_cached(queue, scratch, over_cache, cached); }),
            "attention form absorbed: the model's attention is GQA, wanted MLA for it");
  EXPECT_EQ(cache.length, rows);
}

}  // namespace
}  // namespace troupe::tests
