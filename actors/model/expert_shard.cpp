#include "actors/model/expert_shard.h"

#include <algorithm>

#include "kernels/layers/moe/dispatch.h"
#include "kernels/ops/permute.h"

namespace troupe::actors {
namespace {

/// Rows of each of `experts`, `rows` in all: ascending from 0.
bool are_offsets(const std::vector<int64_t>& offsets, int64_t experts, int64_t rows) {
  return static_cast<int64_t>(offsets.size()) == experts + 1 && offsets.front() == 0 &&
         offsets.back() == rows && std::is_sorted(offsets.begin(), offsets.end());
}

}  // namespace

ExpertShardActor::behavior_type ExpertShardActor::make_behavior() {
  if (company().has_others()) queue().go_first();
  return {
      seen("resume", [this](resume_atom, uint64_t ticket) { resume(ticket); }),
      seen("fault", [this](fault_atom, const std::string& what) { fail(what); }),
      seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); }),
      seen("forward", [this](forward_atom, const TokenMessage& message) { forward(message); }),
      seen("backward", [this](backward_atom, const TokenMessage& message) { backward(message); }),
      seen("dispatched", [this](dispatched_atom, const TokenMessage& m) { dispatched(m); }),
      seen("report", [this](report_atom, uint64_t step) { return report(step); }),
  };
}

caf::result<void> ExpertShardActor::begin(const Pb<wire::BeginStep>& step) {
  if (caf::error stale = enters(Phase::begin, *step)) return stale;
  retire(passages_);
  weights_.clear();
  retire(codes_);
  begin_epoch(*step);
  caf::result<void> answer = answer_when_done();
  when_done([this] {  // who sends rows waits for their product, not for the list of its weights or their codes
    const auto& its = company().plan.stages[static_cast<size_t>(place().stage)];
    for (int64_t layer = its.first_layer; layer < its.first_layer + its.layers; ++layer) {
      if (!company().recipe.shape.is_dense(layer)) codes_of(layer);
    }
  });
  return answer;
}

/// Of the step's state, which nobody changes before it is committed.
const std::vector<kernels::FfnWeights>& ExpertShardActor::weights_of(int64_t layer) {
  std::vector<kernels::FfnWeights>& weights = weights_[layer];
  const auto& range = company().plan.experts[static_cast<size_t>(place().index)];
  if (weights.empty()) weights = company().tensors.experts(layer, range.first, range.count, view(0));
  return weights;
}

/// The same as the queue's products read them, where these are codes.
const std::shared_ptr<const kernels::ExpertCodes>& ExpertShardActor::codes_of(int64_t layer) {
  const auto [its, is_new] = codes_.try_emplace(layer);
  if (is_new) {
    its->second =
        kernels::expert_codes(queue(), ffn_options(company().recipe, true), weights_of(layer));
  }
  return its->second;
}

Address ExpertShardActor::router_of(const wire::UnitId& id) {
  return company().place_of_sender(Role::router, id.sender(), id.layer());
}

Pb<wire::TokenHeader> ExpertShardActor::answer(const Passage& passage, const wire::UnitId& id) {
  wire::TokenHeader header = *answer_header(id, place().index);
  header.mutable_offsets()->Add(passage.args.offsets.begin(), passage.args.offsets.end());
  header.set_is_part(passage.is_part);
  return header;
}

/// The rows of all shards of this process, from a router of another: unpacked once.
void ExpertShardActor::dispatched(const TokenMessage& message) {
  if (!accept(message, Edge::dispatched)) return;
  const kernels::Precision precision = company().recipe.precision;
  if (kernels::travels_as_it_is(queue(), precision)) return hand_on(message, message.tensors.at(0));
  const auto scratch = std::make_shared<kernels::Scratch>(queue().device());
  std::vector<kernels::ConstTensor> packed;
  for (size_t i = 0; i < kernels::tensors_of_dispatched(precision); ++i) {
    packed.push_back(message.tensors.at(i));
  }
  const kernels::Tensor rows = kernels::unpack_dispatched(queue(), *scratch, precision, packed);
  hand_on(message, share(*scratch, rows));
  release_when_done(std::make_shared<TokenMessage>(message));
  release_when_done(scratch);
}

/// To each shard its part, itself included.
void ExpertShardActor::hand_on(const TokenMessage& message, const runtime::TensorRef& rows) {
  const bool is_forward = message.id().operation() == wire::FORWARD;
  size_t next = kernels::tensors_of_dispatched(company().recipe.precision);
  for (const wire::DispatchPart& part : message.header->parts()) {
    wire::TokenHeader header;
    *header.mutable_id() = message.id();
    *header.mutable_offsets() = part.offsets();
    header.set_is_part(true);
    header.set_leaves_weights(message.header->leaves_weights());
    const Address to{Role::expert_shard, place().stage, place().worker, part.shard()};
    if (is_forward) {
      send_when_done(to, forward_atom_v,
                     {header, {rows, message.tensors.at(next), message.tensors.at(next + 1)}});
      next += 2;
    } else {
      send_when_done(to, backward_atom_v, {header, {rows}});
    }
  }
}

/// A table where the queue computes.
kernels::ConstTensor ExpertShardActor::near(Passage& passage, const kernels::ConstTensor& table) {
  if (table.data == nullptr || table.device == queue().device()) return table;
  const kernels::Tensor copy = passage.scratch.of(table.dtype, {table.count()});
  kernels::copy(queue(), {.x = table, .y = copy});
  return copy;
}

/// What goes back: the rows, or, to another process, sums of groups and the rows that are in none.
std::vector<runtime::TensorRef> ExpertShardActor::reply(Passage& passage, const kernels::Tensor& rows,
                                                        const kernels::ConstTensor& weights) {
  if (!passage.is_part) return {share(passage.scratch, rows)};
  const kernels::GroupSums& plan = passage.sums;
  const int64_t S = plan.sums(), W = plan.source.view.cols(), D = rows.cols();
  const kernels::Tensor sums = passage.scratch.f32({S, D});
  const kernels::Tensor lone = passage.scratch.f32({plan.lone.view.count(), D});
  kernels::Tensor of_rows{};
  if (weights.data) {
    of_rows = passage.scratch.f32({S, W});
    kernels::gather_rows(queue(), {.x = reshape(weights, {weights.count(), 1}),
                                   .index = plan.flat_row, .y = reshape(of_rows, {S * W, 1})});
  }
  const kernels::Precision precision = company().recipe.precision;
  kernels::combine_rows(queue(), {.rows = {rows}, .source = plan.source, .row = plan.row,
                                  .group = plan.group, .weight = of_rows, .y = sums,
                                  .rounds_groups = precision != kernels::Precision::fp32});
  kernels::gather_rows(queue(), {.x = rows, .index = plan.lone, .y = lone});
  const kernels::Tensor packed = kernels::pack_sums(queue(), passage.scratch, precision, sums);
  return {share(passage.scratch, packed), share(passage.scratch, lone)};
}

void ExpertShardActor::forward(const TokenMessage& message) {
  if (!takes(message, Phase::forward)) return;
  const int64_t layer = message.id().layer();
  const auto& range = company().plan.experts[static_cast<size_t>(place().index)];
  auto passage = std::make_shared<Passage>(queue().device());
  passages_[{message.id().micro_batch(), message.id().layer()}] = passage;  // before what may throw
  passage->rows = message.tensors.at(0);
  passage->args.offsets.assign(message.header->offsets().begin(), message.header->offsets().end());
  passage->is_part = message.header->is_part();
  const bool has_index = passage->is_part || message.header->is_table();
  if (has_index) passage->index = message.tensors.at(1);
  const int64_t rows = has_index ? passage->index.view.count() : passage->rows.view.rows();
  if (!are_offsets(passage->args.offsets, range.count, rows)) {
    return fail("rows of layer " + std::to_string(layer) + " came with offsets of " +
                std::to_string(passage->args.offsets.size()) + " numbers for " + std::to_string(rows) +
                " rows, wanted " + std::to_string(range.count + 1) + " that ascend from 0 to as many");
  }
  if (passage->is_part) {
    const kernels::ModelShape& shape = company().recipe.shape;
    passage->weights = message.tensors.at(2);
    passage->sums = kernels::plan_group_sums({.first_expert = range.first,
                                              .offsets = passage->args.offsets,
                                              .token = passage->index,
                                              .group_experts = shape.experts / shape.groups});
  }
  passage->args.x = passage->rows;
  passage->args.index = near(*passage, passage->index);
  passage->args.options = ffn_options(company().recipe, true);
  passage->args.weights = weights_of(layer);
  passage->args.codes = codes_of(layer);
  passage->saved = kernels::experts_forward(queue(), passage->scratch, passage->args);
  send_in_order(router_of(message.id()), expert_rows_atom_v,
                {answer(*passage, message.id()),
                 reply(*passage, passage->saved.y, passage->weights)});
  let_go();
}

void ExpertShardActor::backward(const TokenMessage& message) {
  if (!takes(message, Phase::backward)) return;
  const int64_t layer = message.id().layer();
  const auto found = passages_.find({message.id().micro_batch(), message.id().layer()});
  if (found == passages_.end()) {
    return fail("backward of micro-batch " + std::to_string(message.id().micro_batch()) +
                ", layer " + std::to_string(layer) + " had no forward here");
  }
  const std::shared_ptr<Passage> passage = found->second;
  if (message.id().operation() == wire::BACKWARD) backward_inputs(message, *passage);
  if (message.header->leaves_weights()) return let_go();
  backward_weights(message.id(), *passage);
  if (message.id().operation() == wire::BACKWARD_WEIGHT) {
    send_when_done(router_of(message.id()), expert_rows_atom_v,
                   {answer_header(message.id(), place().index), {}});
  }
  release_when_done(passage);
  passages_.erase(found);
}

void ExpertShardActor::backward_inputs(const TokenMessage& message, Passage& passage) {
  passage.dy = message.tensors.at(0);
  if (!passage.is_part) passage.weights = message.tensors.at(1);
  const kernels::Tensor dx = passage.saved.y;  // in its place
  const kernels::Tensor dweights = passage.scratch.f32({dx.rows()});
  kernels::experts_backward_inputs(queue(), passage.scratch, passage.args, passage.saved,
                                   {.dy = passage.dy, .weights = near(passage, passage.weights), .dx = dx,
                                    .dweights = dweights});
  std::vector<runtime::TensorRef> tensors = reply(passage, dx, {});
  tensors.push_back(share(passage.scratch, dweights));
  send_in_order(router_of(message.id()), expert_rows_atom_v,
                {answer(passage, message.id()), std::move(tensors)});
}

void ExpertShardActor::backward_weights(const wire::UnitId& id, Passage& passage) {
  const auto& range = company().plan.experts[static_cast<size_t>(place().index)];
  const StepView step = view(id.micro_batch());
  std::vector<kernels::FfnGradients> gradients;
  for (int64_t e = range.first; e < range.first + range.count; ++e) {
    gradients.push_back(company().tensors.expert_gradients(id.layer(), e, step));
  }
  kernels::experts_backward_weights(queue(), passage.scratch, passage.args, passage.saved,
                                    gradients);
}

caf::result<Pb<wire::StepReport>> ExpertShardActor::report(uint64_t step) {
  if (caf::error none = lacks(step)) return none;
  retire(codes_);  // what comes behind, from other processes, makes them again
  return answer_when_done<Pb<wire::StepReport>>([] { return Pb<wire::StepReport>(wire::StepReport()); });
}

}  // namespace troupe::actors
