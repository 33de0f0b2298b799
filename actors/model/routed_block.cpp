#include "actors/model/routed_block.h"

#include <algorithm>

#include "kernels/layers/moe/dispatch.h"
#include "kernels/layers/moe/group_sums.h"
#include "kernels/ops/permute.h"
#include "kernels/ops/routing.h"

namespace troupe::actors {

using kernels::ConstTensor;
using kernels::Queue;
using kernels::Scratch;
using kernels::Tensor;

RoutedBlock::RoutedBlock(const ModelTensors& tensors, const Recipe& recipe, int64_t layer,
                         StepView step, ExpertHolders holders)
    : tensors_(tensors), recipe_(recipe), layer_(layer), step_(step),
      holders_(std::move(holders)) {}

void RoutedBlock::choose(Queue& queue, Scratch& scratch, const ConstTensor& x,
                         const ConstTensor& bias) {
  x_ = x;
  gate_ = kernels::moe_gate_forward(queue, scratch,
                                    {.shape = &recipe_.shape, .weight = tensors_.gate(layer_, step_),
                                     .bias = bias, .x = x});
  plan_ = kernels::plan_dispatch(queue, scratch, gate_.expert_ids, holders_.owner, recipe_.shape.groups);
  host_plan_ = plan_;
  if (hands_tables(queue)) {
    table_ = kernels::round_dispatched(queue, scratch, recipe_.precision,
                                       kernels::Dispatched::activations, x);
  } else if (holders_.hosts.empty()) {  // whose rows they are will be known when the host has seen the choice
    kernels::PassingScratch passing(queue);
    gathered_ = gather(queue, scratch,
                       kernels::round_dispatched(queue, *passing, recipe_.precision,
                                                 kernels::Dispatched::activations, x),
                       plan_.index);
  }
  if (holders_.hosts.empty()) return;
  const auto copy_of = [&](const Tensor& table) {
    const Tensor copy = scratch.i32({table.count()});
    kernels::copy(queue, {.x = reshape(table, {table.count()}), .y = copy});
    return copy;
  };
  const auto shape = {x.rows(), recipe_.shape.top_k};
  host_plan_.source = reshape(copy_of(plan_.source), shape);  // plan_hosts changes both
  host_plan_.row = reshape(copy_of(plan_.row), shape);
  if (!queue.is_cuda()) return;
  host_plan_.index = copy_of(plan_.index);
  host_plan_.slot = copy_of(plan_.slot);
}

void RoutedBlock::balance(Queue& queue, Scratch& scratch, int64_t sequence_rows, int64_t step_sequences) {
  if (recipe_.balance == Balance::none || recipe_.balance_alpha == 0.0) return;
  // Mean over the step's sequences; over the micro-batch as one long sequence it is the mean over
  // micro-batches, each weighted by its sequences.
  const int64_t T = x_.rows();
  const bool by_sequence = recipe_.balance == Balance::sequence;
  const double share = by_sequence ? 1.0 : static_cast<double>(T / sequence_rows);
  const int64_t rows = by_sequence ? sequence_rows : T;
  balance_losses_ = scratch.shared(kernels::DType::f32, {T / rows});
  dscores_ = scratch.f32({T, recipe_.shape.experts});
  kernels::balance_loss(
      queue, {.scores = gate_.scores, .expert_ids = gate_.expert_ids, .sequence_rows = rows,
              .unbiased_choice = false,
              .scale = static_cast<float>(recipe_.balance_alpha * share /
                                          static_cast<double>(step_sequences)),
              .losses = balance_losses_, .dscores = dscores_});
}

/// Whose rows go to which other process, and where its answers stand among what is combined.
void RoutedBlock::plan_hosts(int64_t tokens) {
  hosts_.clear();
  crossing_bytes_ = 0;
  is_there_.assign(static_cast<size_t>(holders_.shards), false);
  combine_source_ = host_plan_.source;
  combine_row_ = host_plan_.row;
  if (holders_.hosts.empty()) return;
  host_plan_.sources = kernels::dispatch_sources(host_plan_, holders_.owner, holders_.shards);
  for (const std::vector<int>& shards : holders_.hosts) {
    std::vector<int32_t> place(static_cast<size_t>(tokens), -1);
    const auto each = [&](auto f) {
      for (const int shard : shards) {
        const auto& source = host_plan_.sources[static_cast<size_t>(shard)];
        f(source, kernels::values<int32_t>(source.index));
      }
    };
    each([&](const auto& source, const int32_t* index) {
      for (int64_t r = 0; r < source.rows(); ++r) place[static_cast<size_t>(index[r])] = 0;
    });
    std::vector<int32_t> met;
    for (size_t t = 0; t < place.size(); ++t) {
      if (place[t] < 0) continue;
      place[t] = static_cast<int32_t>(met.size());
      met.push_back(static_cast<int32_t>(t));
    }
    Host host;
    host.tokens = kernels::allocate_shared(kernels::DType::i32, {static_cast<int64_t>(met.size())});
    std::copy(met.begin(), met.end(), kernels::values<int32_t>(host.tokens.view));
    each([&](const auto& source, const int32_t* index) {
      host.index.push_back(kernels::allocate_shared(kernels::DType::i32, {source.rows()}));
      int32_t* out = kernels::values<int32_t>(host.index.back().view);
      for (int64_t r = 0; r < source.rows(); ++r) out[r] = place[static_cast<size_t>(index[r])];
    });
    crossing_bytes_ += 2 * host.tokens.view.count() *
                       kernels::bytes_of_dispatched(recipe_.precision, x_.cols());
    hosts_.push_back(std::move(host));
    for (const int shard : shards) plan_sums(shard);
  }
}

/// A sum stands where the first row of its group stood; the group's others are none.
void RoutedBlock::plan_sums(int shard) {
  const auto at = static_cast<size_t>(shard);
  const auto& source = host_plan_.sources[at];
  is_there_[at] = true;
  const auto first = std::find(holders_.owner.begin(), holders_.owner.end(), shard);
  const kernels::GroupSums sums = kernels::plan_group_sums(
      {.first_expert = first - holders_.owner.begin(), .offsets = source.offsets,
       .token = source.index, .group_experts = recipe_.shape.experts / recipe_.shape.groups});
  const int32_t* slot = kernels::values<int32_t>(source.slot);
  const auto put = [&](int32_t row, int32_t new_source, int32_t new_row) {
    kernels::values<int32_t>(combine_source_)[slot[row]] = new_source;
    kernels::values<int32_t>(combine_row_)[slot[row]] = new_row;
  };
  const int64_t W = sums.source.view.cols();
  for (int64_t i = 0; i < sums.sums() * W; ++i) {
    if (kernels::values<int32_t>(sums.source.view)[i] < 0) continue;
    const int32_t row = kernels::values<int32_t>(sums.row.view)[i];
    if (i % W == 0) {
      put(row, holders_.shards + shard, static_cast<int32_t>(i / W));
    } else {
      put(row, -1, 0);
    }
  }
  crossing_bytes_ += 2 * x_.cols() * (sums.sums() * (rounds_groups() ? 2 : 4) +
                                      sums.lone.view.count() * 4);
  const int32_t* lone = kernels::values<int32_t>(sums.lone.view);
  for (int64_t j = 0; j < sums.lone.view.count(); ++j) put(lone[j], shard, static_cast<int32_t>(j));
}

Tensor RoutedBlock::gather(Queue& queue, Scratch& scratch, const ConstTensor& rounded,
                           const Tensor& index) const {
  const kernels::DType type = is_narrow(queue) ? kernels::DType::bf16 : kernels::DType::f32;
  const Tensor rows = scratch.of(type, {index.count(), rounded.cols()});
  kernels::gather_rows(queue, {.x = rounded, .index = index, .y = rows});
  return rows;
}

/// For the holders of this process x, rounded, of which they gather their rows.
Dispatched RoutedBlock::hand_table(const ConstTensor& table) const {
  Dispatched out;
  for (size_t shard = 0; shard < plan_.sources.size(); ++shard) {
    const auto& source = plan_.sources[shard];
    out.here.push_back({source.offsets, {}, {}, {}});
    if (is_there_[shard]) continue;
    out.here.back().rows = table;
    out.here.back().index = source.index;
  }
  return out;
}

/// Rows for the holders of this process, gathered from x.
Dispatched RoutedBlock::gather_here(Queue& queue, Scratch& scratch, kernels::Dispatched what,
                                    const ConstTensor& x) const {
  Dispatched out;
  kernels::PassingScratch passing(queue);
  // A token's row is rounded once, however many experts of this process get it.
  const bool any_here = std::find(is_there_.begin(), is_there_.end(), false) != is_there_.end();
  const ConstTensor rounded =
      any_here ? kernels::round_dispatched(queue, *passing, recipe_.precision, what, x) : x;
  for (size_t shard = 0; shard < plan_.sources.size(); ++shard) {
    const auto& source = plan_.sources[shard];
    out.here.push_back({source.offsets, {}, {}, {}});
    if (is_there_[shard]) continue;
    out.here.back().rows = gather(queue, scratch, rounded, source.index);
  }
  return out;
}

/// For the others the tokens' rows, packed.
void RoutedBlock::pack_there(Queue& queue, Scratch& scratch, kernels::Dispatched what,
                             const ConstTensor& x, Dispatched& out) const {
  for (size_t h = 0; h < hosts_.size(); ++h) {
    out.there.emplace_back();
    for (const int shard : holders_.hosts[h]) {
      out.there.back().parts.push_back(
          {shard, plan_.sources[static_cast<size_t>(shard)].offsets, {}, {}});
    }
    out.there.back().packed = pack(queue, scratch, h, what, x);
  }
}

Tensor RoutedBlock::weights_of(Queue& queue, Scratch& scratch, size_t shard) const {
  const auto& source = plan_.sources[shard];
  const Tensor weights = scratch.f32({source.rows()});
  kernels::gather_rows(queue, {.x = reshape(ConstTensor(gate_.weights), {gate_.weights.count(), 1}),
                               .index = source.slot, .y = reshape(weights, {source.rows(), 1})});
  return weights;
}

/// The sources' shares of what was gathered with the choice.
Dispatched RoutedBlock::cut_gathered() const {
  Dispatched out;
  int64_t first = 0;
  for (const auto& source : plan_.sources) {
    out.here.push_back({source.offsets, row_range(gathered_, first, source.rows()), {}, {}});
    first += source.rows();
  }
  return out;
}

Dispatched RoutedBlock::dispatch(Queue& queue, Scratch& scratch) {
  plan_.sources = kernels::dispatch_sources(plan_, holders_.owner, holders_.shards);
  plan_hosts(x_.rows());
  constexpr auto what = kernels::Dispatched::activations;
  Dispatched out = hands_tables(queue) ? hand_table(table_)
                   : hosts_.empty()    ? cut_gathered()
                                       : gather_here(queue, scratch, what, x_);
  pack_there(queue, scratch, what, x_, out);
  for (size_t h = 0; h < hosts_.size(); ++h) {
    for (size_t part = 0; part < out.there[h].parts.size(); ++part) {
      auto& one = out.there[h].parts[part];
      one.index = scratch.keep(hosts_[h].index[part]);
      one.weights = weights_of(queue, scratch, static_cast<size_t>(one.shard));
    }
  }
  return out;
}

std::vector<Tensor> RoutedBlock::pack(Queue& queue, Scratch& scratch, size_t host,
                                      kernels::Dispatched what, const ConstTensor& x) const {
  const Tensor rows = scratch.f32({hosts_[host].tokens.view.count(), x.cols()});
  kernels::gather_rows(queue, {.x = x, .index = hosts_[host].tokens, .y = rows});
  return kernels::pack_dispatched(queue, scratch, recipe_.precision, what, rows);
}

Tensor RoutedBlock::combine_answers(Queue& queue, Scratch& scratch,
                                    const std::vector<ExpertAnswer>& answers,
                                    const ConstTensor& weights) const {
  const Tensor y = scratch.f32({x_.rows(), x_.cols()});
  kernels::CombineRowsArgs args{.rows = {}, .source = combine_source_, .row = combine_row_,
                                .group = plan_.group, .weight = weights, .y = y,
                                .rounds_groups = rounds_groups()};
  for (const ExpertAnswer& answer : answers) args.rows.push_back(answer.rows);
  if (!hosts_.empty()) {
    args.are_sums.assign(answers.size(), false);
    for (size_t shard = 0; shard < answers.size(); ++shard) {
      args.rows.push_back(is_there_[shard] ? kernels::unpack_sums(queue, scratch, recipe_.precision,
                                                                  answers[shard].sums)
                                           : scratch.f32({0, x_.cols()}));
      args.are_sums.push_back(true);
    }
  }
  kernels::combine_rows(queue, args);
  return y;
}

Tensor RoutedBlock::combine(Queue& queue, Scratch& scratch,
                            const std::vector<ExpertAnswer>& answers) {
  return combine_answers(queue, scratch, answers, gate_.weights);
}

Dispatched RoutedBlock::dispatch_backward(Queue& queue, Scratch& scratch, const ConstTensor& dy) {
  constexpr auto what = kernels::Dispatched::gradients;
  Dispatched out =
      hands_tables(queue)
          ? hand_table(kernels::round_dispatched(queue, scratch, recipe_.precision, what, dy))
          : gather_here(queue, scratch, what, dy);
  pack_there(queue, scratch, what, dy, out);
  for (size_t shard = 0; shard < out.here.size(); ++shard) {
    if (!is_there_[shard]) out.here[shard].weights = weights_of(queue, scratch, shard);
  }
  return out;
}

Tensor RoutedBlock::combine_backward(Queue& queue, Scratch& scratch,
                                     const std::vector<ExpertAnswer>& answers) {
  const int64_t T = x_.rows(), K = gate_.weights.cols(), slots = T * K;
  const Tensor through_experts = combine_answers(queue, scratch, answers, {});
  const Tensor through_gate = scratch.f32({T, x_.cols()});
  // Back into slots: a "combine" of one row each.
  dweights_ = scratch.f32({T, K});
  std::vector<ConstTensor> dweights;
  for (const ExpertAnswer& answer : answers) {
    dweights.push_back(reshape(answer.dweights, {answer.dweights.count(), 1}));
  }
  const auto per_slot = [&](const Tensor& table) { return reshape(ConstTensor(table), {slots, 1}); };
  kernels::combine_rows(queue, {.rows = std::move(dweights), .source = per_slot(plan_.source),
                                .row = per_slot(plan_.row), .group = per_slot(plan_.group),
                                .weight = {}, .y = reshape(dweights_, {slots, 1})});
  dlogits_ = kernels::moe_gate_backward_inputs(queue, scratch, gate_args(through_gate), gate_);
  kernels::add(queue, {.a = through_experts, .b = through_gate, .y = through_experts});
  return through_experts;
}

kernels::GateBackwardArgs RoutedBlock::gate_args(const Tensor& dx) const {
  return {.shape = &recipe_.shape, .weight = tensors_.gate(layer_, step_), .x = x_,
          .dweights = dweights_, .dscores = dscores_, .dx = dx};
}

void RoutedBlock::backward_weights(Queue& queue, Scratch& unit_scratch) const {
  kernels::moe_gate_backward_weights(queue, unit_scratch, gate_args({}), dlogits_,
                                     tensors_.gate_gradient(layer_, step_));
}

std::vector<int64_t> RoutedBlock::loads() const {
  const int32_t* const counts = kernels::values<int32_t>(plan_.counts);
  return {counts, counts + plan_.counts.count()};
}

float RoutedBlock::balance_loss() const {
  float sum = 0.0f;
  for (int64_t i = 0; i < balance_losses_.count() && balance_losses_.data; ++i) {
    sum += kernels::values<float>(balance_losses_)[i];
  }
  return sum;
}

}  // namespace troupe::actors
