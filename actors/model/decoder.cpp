#include "actors/model/decoder.h"

#include <algorithm>

#include "actors/model/mlp_block.h"
#include "actors/model/routed_block.h"
#include "kernels/embedding.h"
#include "kernels/layers/expert.h"
#include "kernels/layers/head.h"

namespace troupe::actors {

using kernels::Buffer;
using kernels::Scratch;
using kernels::Tensor;

struct Decoder::Call {
  std::span<const Part> parts;
  Scratch scratch;
  Tensor positions;
  int64_t rows = 0;
};

Decoder::Decoder(const Args& args)
    : args_(args), tensors_(args.arena, args.recipe),
      rope_(kernels::rope_table(args.recipe.shape.max_positions, args.recipe.shape.rope,
                                args.recipe.shape.rope_theta, args.recipe.shape.yarn)),
      view_{args.state, args.recipe.scale_bits} {}

DecoderSequence Decoder::new_sequence() const {
  DecoderSequence sequence;
  sequence.layers.resize(static_cast<size_t>(args_.recipe.shape.layers));
  for (auto& cache : sequence.layers) cache.page_rows = args_.page_rows;
  return sequence;
}

Buffer Decoder::hidden(std::span<const Part> parts) {
  const kernels::ModelShape& s = args_.recipe.shape;
  Call call{parts, {}, {}, 0};
  for (const Part& part : parts) call.rows += static_cast<int64_t>(part.tokens.size());
  const Tensor ids = call.scratch.i32({call.rows});
  call.positions = call.scratch.i32({call.rows});
  int64_t row = 0;
  for (const Part& part : parts) {
    for (size_t i = 0; i < part.tokens.size(); ++i, ++row) {
      kernels::values<int32_t>(ids)[row] = part.tokens[i];
      kernels::values<int32_t>(call.positions)[row] =
          static_cast<int32_t>(part.sequence->length() + static_cast<int64_t>(i));
    }
  }
  Tensor x = call.scratch.f32({call.rows, s.hidden});
  kernels::embed(args_.queue, {.ids = ids, .weight = tensors_.embedding(view_), .y = x});
  for (int64_t number = 0; number < s.layers; ++number) x = layer(call, number, x);
  const kernels::NormSaved norm = kernels::norm_forward(
      args_.queue, call.scratch, x, tensors_.final_norm(-1, view_), s.rms_eps);
  args_.queue.wait();
  return {norm.y, call.scratch.memory_of(norm.y)};
}

Buffer Decoder::logits(std::span<const Part> parts) {
  const Buffer x = hidden(parts);
  Buffer out = kernels::allocate_f32({x.view.rows(), vocabulary()});
  kernels::head_logits(args_.queue, tensors_.head(view_), x, out);
  args_.queue.wait();
  return out;
}

Tensor Decoder::layer(Call& call, int64_t number, const Tensor& x) {
  const kernels::ModelShape& s = args_.recipe.shape;
  std::vector<kernels::CachedSequence> sequences;
  for (const Part& part : call.parts) {
    sequences.push_back({static_cast<int64_t>(part.tokens.size()),
                         &part.sequence->layers[static_cast<size_t>(number)]});
  }
  const Tensor y = call.scratch.f32({x.rows(), x.cols()});
  kernels::attention_block_cached(
      args_.queue, call.scratch,
      {.context = {&s, &rope_, kernels::softmax_scale(s.query_width(), s.yarn)},
       .weights = tensors_.attention(number, view_), .form = args_.form, .x = x,
       .positions = call.positions, .sequences = std::move(sequences)},
      y);
  MlpBlock block(tensors_, args_.recipe, number, view_);
  block.normalise(args_.queue, call.scratch, y);
  block.forward_own(args_.queue, call.scratch);
  const Tensor sum = s.is_dense(number) ? Tensor{} : routed(call, number, block.normed());
  return block.finish_forward(args_.queue, call.scratch, sum);
}

Tensor Decoder::routed(Call& call, int64_t number, const Tensor& normed) {
  const kernels::ModelShape& s = args_.recipe.shape;
  const int64_t E = s.experts;
  const Tensor bias = call.scratch.f32({E});
  std::copy_n(args_.routing_bias.data() + (number - s.dense_layers) * E, E,
              kernels::values<float>(bias));
  kernels::Queue& queue = args_.queue;
  RoutedBlock block(tensors_, args_.recipe, number, view_, std::vector<int>(E, 0), 1);
  block.choose(queue, call.scratch, normed, bias, normed.rows(), 1);
  queue.wait();
  const DispatchedRows part = block.dispatch(queue, call.scratch).at(0);
  kernels::ExpertsArgs experts{{}, part.offsets, part.rows};
  for (int64_t e = 0; e < E; ++e) experts.weights.push_back(tensors_.expert(number, e, view_));
  const kernels::ExpertsSaved saved = kernels::experts_forward(queue, call.scratch, experts);
  const Tensor y = block.combine(queue, call.scratch, {saved.y});
  queue.wait();  // the plan of the dispatch ends with this block
  return y;
}

}  // namespace troupe::actors
