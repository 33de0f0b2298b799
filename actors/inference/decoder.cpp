#include "actors/inference/decoder.h"

#include <algorithm>
#include <set>

#include "actors/inference/forward_routed.h"
#include "actors/model/mlp_block.h"
#include "kernels/layers/head.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"

namespace troupe::actors {

using kernels::Buffer;
using kernels::ConstTensor;
using kernels::DType;
using kernels::KernelError;
using kernels::Scratch;
using kernels::Tensor;

namespace {

/// So many rows at most stand in memory between the layers. Shows in no bit (law 1).
constexpr int64_t pass_rows = 2048;

int64_t count_of(const Decoder::Part& part) { return static_cast<int64_t>(part.tokens.size()); }

int64_t rows_of(std::span<const Decoder::Part> parts) {
  int64_t rows = 0;
  for (const Decoder::Part& part : parts) rows += count_of(part);
  return rows;
}

/// What the blocks ask for besides the shape belongs to training.
Recipe forward_recipe(const Recipe& recipe) {
  const kernels::ModelShape& shape = recipe.shape;
  return {.shape = shape,
          .seed = 0,
          .steps = 0,
          .sequences = 1,
          .micro_batches = 1,
          .sequence_rows = shape.max_positions,
          .optimizer = {},
          .gamma = 0.0,
          .balance = Balance::none,
          .balance_alpha = 0.0,
          .mtp_weight = 0.0,
          .scale_bits = 0,
          .on_nan = OnNan::stop,
          .precision = recipe.precision};
}

/// `parts` cut into lists of at most pass_rows rows.
std::vector<std::vector<Decoder::Part>> cut(std::span<const Decoder::Part> parts) {
  std::vector<std::vector<Decoder::Part>> out;
  int64_t room = 0;
  for (Decoder::Part left : parts) {
    while (!left.tokens.empty()) {
      if (room == 0) {
        out.emplace_back();
        room = pass_rows;
      }
      const auto n = static_cast<size_t>(std::min(room, count_of(left)));
      out.back().push_back({left.sequence, left.tokens.first(n)});
      left.tokens = left.tokens.subspan(n);
      room -= static_cast<int64_t>(n);
    }
  }
  return out;
}

}  // namespace

/// One walk through the layers.
struct Decoder::Pass {
  std::span<const Part> parts;
  Scratch scratch;  ///< of the pass
  Scratch layer;    ///< of one layer
  Tensor ids, positions;
};

Decoder::Decoder(const Args& args)
    : args_(args), recipe_(forward_recipe(args.recipe)), tensors_(args.arena, recipe_),
      rope_(kernels::rope_table(recipe_.shape.max_positions, recipe_.shape.rope,
                                recipe_.shape.rope_theta, recipe_.shape.yarn)),
      view_{.state = args.state, .scale_bits = recipe_.scale_bits, .reads_ema = args.reads_ema} {
  const kernels::ModelShape& s = recipe_.shape;
  const int64_t wanted = s.moe_layers() * s.experts;
  if (static_cast<int64_t>(args.routing_bias.size()) < wanted) {
    throw KernelError("the routing bias has " + std::to_string(args.routing_bias.size()) +
                      " values, wanted " + std::to_string(wanted));
  }
  if (args.page_rows < 1) {
    throw KernelError("page_rows is " + std::to_string(args.page_rows) + ", wanted 1 or more");
  }
}

DecoderSequence Decoder::new_sequence() const {
  DecoderSequence sequence;
  sequence.layers.resize(static_cast<size_t>(recipe_.shape.layers));
  for (auto& cache : sequence.layers) cache.page_rows = args_.page_rows;
  return sequence;
}

void Decoder::check(std::span<const Part> parts) const {
  std::set<const DecoderSequence*> met;
  for (const Part& part : parts) {
    if (!met.insert(part.sequence).second) {
      throw KernelError("a sequence stands twice in a call of the decoder, wanted once");
    }
    if (const int64_t end = part.sequence->length() + count_of(part); end > max_positions()) {
      throw KernelError("a sequence of " + std::to_string(end) + " positions, the model has " +
                        std::to_string(max_positions()));
    }
    for (const int32_t token : part.tokens) {
      if (token >= 0 && token < vocabulary()) continue;
      throw KernelError("token " + std::to_string(token) + " is outside the vocabulary [0, " +
                        std::to_string(vocabulary()) + ")");
    }
  }
}

Buffer Decoder::hidden(std::span<const Part> parts) {
  check(parts);
  Buffer out = kernels::allocate_f32({rows_of(parts), recipe_.shape.hidden});
  int64_t row = 0;
  for (const auto& pass : cut(parts)) {
    const int64_t rows = rows_of(pass);
    run(pass, row_range(out.view, row, rows));
    row += rows;
  }
  return out;
}

Buffer Decoder::logits(std::span<const Part> parts) { return head_of(hidden(parts)); }

Buffer Decoder::last_logits(std::span<const Part> parts) {
  const Buffer index = kernels::allocate(DType::i32, {static_cast<int64_t>(parts.size())});
  int64_t end = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].tokens.empty()) throw KernelError("logits of a sequence without tokens");
    end += count_of(parts[i]);
    kernels::values<int32_t>(index.view)[i] = static_cast<int32_t>(end - 1);
  }
  const Buffer all = hidden(parts);
  const Buffer last = kernels::allocate_f32({index.view.count(), all.view.cols()});
  kernels::gather_rows(args_.queue, {.x = all, .index = index, .y = last});
  return head_of(last);
}

Buffer Decoder::head_of(const ConstTensor& hidden) {
  const Buffer out = kernels::allocate_f32({hidden.rows(), vocabulary()});
  kernels::head_logits(args_.queue, tensors_.head(view_), hidden, out);
  args_.queue.wait();
  return out;
}

std::vector<float> Decoder::losses(std::span<const Part> parts, std::span<const int32_t> targets) {
  const int64_t rows = rows_of(parts);
  if (static_cast<int64_t>(targets.size()) != rows) {
    throw KernelError(std::to_string(targets.size()) + " targets, wanted one for each of " +
                      std::to_string(rows) + " rows");
  }
  const Buffer x = hidden(parts);
  Scratch scratch;
  const Drained drained{args_.queue};
  const kernels::HeadSaved saved = kernels::head_forward(
      args_.queue, scratch,
      {.weight = tensors_.head(view_), .x = x, .targets = kernels::tensor(targets.data(), {rows}),
       .scale = 1.0f});
  args_.queue.wait();
  const float* losses = kernels::values<float>(saved.losses);
  return {losses, losses + rows};
}

void Decoder::run(std::span<const Part> parts, const Tensor& hidden) {
  const kernels::ModelShape& s = recipe_.shape;
  Pass pass{parts, {}, {}, {}, {}};
  const Drained drained{args_.queue};
  pass.ids = pass.scratch.i32({hidden.rows()});
  pass.positions = pass.scratch.i32({hidden.rows()});
  int64_t row = 0;
  for (const Part& part : parts) {
    for (int64_t i = 0; i < count_of(part); ++i, ++row) {
      kernels::values<int32_t>(pass.ids)[row] = part.tokens[static_cast<size_t>(i)];
      kernels::values<int32_t>(pass.positions)[row] =
          static_cast<int32_t>(part.sequence->length() + i);
    }
  }
  const Tensor x = pass.scratch.f32({hidden.rows(), s.hidden});
  kernels::embed(args_.queue, {.ids = pass.ids, .weight = tensors_.embedding(view_), .y = x});
  for (int64_t number = 0; number < s.layers; ++number) {
    kernels::copy(args_.queue, {.x = layer(pass, number, x), .y = x});
    args_.queue.wait();
    pass.layer.clear();
  }
  kernels::rms_norm(args_.queue, {.x = x, .weight = tensors_.final_norm(-1, view_),
                                  .eps = s.rms_eps, .y = hidden,
                                  .inverse_rms = pass.scratch.f32({hidden.rows()})});
  args_.queue.wait();
}

Tensor Decoder::layer(Pass& pass, int64_t number, const Tensor& x) {
  const kernels::ModelShape& s = recipe_.shape;
  std::vector<kernels::CachedSequence> sequences;
  for (const Part& part : pass.parts) {
    sequences.push_back({count_of(part), &part.sequence->layers[static_cast<size_t>(number)]});
  }
  const Tensor y = pass.layer.f32({x.rows(), x.cols()});
  kernels::attention_block_cached(
      args_.queue, pass.layer,
      {.context = mla_context(recipe_, rope_, recipe_.shape.yarn),
       .weights = tensors_.attention(number, view_), .form = args_.form, .x = x,
       .positions = pass.positions, .sequences = std::move(sequences)},
      y);
  MlpBlock block(tensors_, recipe_, number, view_);
  block.normalise(args_.queue, pass.layer, y);
  block.forward_own(args_.queue, pass.layer);
  const Tensor sum = s.is_dense(number) ? Tensor{} : routed(pass, number, block.normed());
  return block.finish_forward(args_.queue, pass.layer, sum);
}

Tensor Decoder::routed(Pass& pass, int64_t number, const Tensor& normed) {
  const config::ExpertRange all{0, static_cast<int>(recipe_.shape.experts)};
  return forward_routed(args_.queue, pass.layer, {.tensors = tensors_, .recipe = recipe_, .layer = number,
                                                  .view = view_, .routing_bias = args_.routing_bias,
                                                  .experts = {&all, 1}, .normed = normed});
}

}  // namespace troupe::actors
