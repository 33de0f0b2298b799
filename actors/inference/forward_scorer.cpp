#include "actors/inference/forward_scorer.h"

#include <algorithm>

#include "actors/inference/forward_routed.h"
#include "actors/model/ends.h"
#include "actors/model/mlp_block.h"
#include "kernels/layers/residual.h"
#include "kernels/ops/permute.h"

namespace troupe::actors {

using kernels::Queue;
using kernels::Scratch;
using kernels::Tensor;

namespace {

/// A call's windows are as long as its longest, in steps of so many rows.
constexpr int64_t row_step = 64;

/// One walk of some windows through the layers.
class Walk {
 public:
  explicit Walk(const ForwardScoreArgs& args)
      : args_(args), pass_(args.queue.device()), layer_(args.queue.device()) {}

  /// Of every row, [B * rows], on the host.
  std::vector<float> losses(const MicroBatch& batch) {
    const kernels::ModelShape& s = args_.recipe.shape;
    EmbeddingEnd embedding(args_.tensors, args_.view);
    HeadEnd head(args_.tensors, args_.recipe, -1, args_.view);
    const Tensor all_positions = pass_.keep(positions(batch.sequences(), batch.rows));
    const Tensor x = embedding.forward(queue(), pass_, batch);
    for (int64_t number = 0; number < s.layers; ++number) {
      forward(number, x, all_positions, batch.rows);
      layer_.clear();
      if (args_.layer_done) args_.layer_done();
    }
    head.forward(queue(), pass_, x, batch.targets, 1);
    queue().wait();
    if (args_.layer_done) args_.layer_done();
    const kernels::Buffer host = kernels::on_host(head.saved().losses);
    const float* const values = kernels::values<float>(host.view);
    return {values, values + batch.inputs.view.count()};
  }

 private:
  Queue& queue() { return args_.queue; }

  /// A layer, in place.
  void forward(int64_t number, const Tensor& x, const Tensor& at, int64_t rows) {
    const Recipe& recipe = args_.recipe;
    const Tensor y = layer_.f32({x.rows(), x.cols()});
    kernels::attention_block_forward(queue(), layer_,
                                     {.context = args_.context,
                                      .weights = args_.tensors.attention(number, args_.view),
                                      .x = x, .positions = at, .sequence_rows = rows},
                                     y);
    MlpBlock block(args_.tensors, recipe, number, args_.view);
    const Drained drained{queue()};
    block.normalise(queue(), layer_, y);
    block.forward_own(queue(), layer_);
    Tensor sum{};
    if (!recipe.shape.is_dense(number)) {
      sum = forward_routed(queue(), layer_, {.tensors = args_.tensors, .recipe = recipe, .layer = number,
                                             .view = args_.view, .routing_bias = args_.routing_bias,
                                             .experts = args_.experts, .normed = block.normed()});
    }
    kernels::copy(queue(), {.x = block.finish_forward(queue(), layer_, sum), .y = x});
    queue().wait();  // what the block keeps ends with it
  }

  const ForwardScoreArgs& args_;
  Scratch pass_;   // of the walk
  Scratch layer_;  // of one layer
  const Drained drained_{args_.queue};  // last: ends first
};

/// The windows' tokens, each behind the other with padding up to the longest.
MicroBatch batch_of(std::span<const ScoreWindow> group, int64_t most_rows) {
  int64_t longest = 0;
  for (const ScoreWindow& w : group) longest = std::max(longest, w.end - w.begin);
  const int64_t rows = std::min(most_rows, (longest + row_step - 1) / row_step * row_step);
  std::vector<int32_t> tokens;
  for (const ScoreWindow& w : group) {
    const auto first = w.document->tokens.begin() + w.begin;
    tokens.insert(tokens.end(), first, first + (w.end - w.begin + 1));
    tokens.resize(tokens.size() + static_cast<size_t>(rows - (w.end - w.begin)), -1);
  }
  MicroBatch batch = make_micro_batch(tokens, std::ssize(group));
  auto* target = kernels::values<int32_t>(batch.targets.view);
  for (const ScoreWindow& w : group) {
    std::fill_n(target, std::max<int64_t>(0, w.first_target - (w.begin + 1)), -1);  // scored in the window before
    target += rows;
  }
  return batch;
}

}  // namespace

std::vector<Score> score_by_forward(const ForwardScoreArgs& args) {
  const auto losses_of = [&](std::span<const ScoreWindow> group) {
    const MicroBatch batch = batch_of(group, args.sequence_rows);
    const std::vector<float> all = Walk(args).losses(batch);
    std::vector<float> losses;
    for (size_t i = 0; i < group.size(); ++i) {
      const auto first = all.begin() + static_cast<int64_t>(i) * batch.rows;
      losses.insert(losses.end(), first, first + (group[i].end - group[i].begin));
    }
    return losses;
  };
  return score_in_windows({.documents = args.documents, .context = args.sequence_rows, .rows_at_once = args.rows_at_once,
                           .has_padding = true, .losses_of = losses_of, .progress = {}});
}

}  // namespace troupe::actors
