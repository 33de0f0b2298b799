#include "actors/train/evaluator.h"

#include <algorithm>

#include "actors/inference/forward_scorer.h"
#include "runtime/error.h"

namespace troupe::actors {

EvaluatorActor::behavior_type EvaluatorActor::make_behavior() {
  return {seen("evaluate", [this](evaluate_atom, const Pb<wire::StepRecord>& record) {
    return evaluate(*record);
  })};
}

Pb<wire::Evaluation> EvaluatorActor::evaluate(const wire::StepRecord& record) {
  at_step(record.step());
  passes(Phase::begin, record.step());
  wire::Evaluation evaluation;
  evaluation.set_state(record.step());
  const auto scores = scores_of(record, false);
  const Score total = sum_of(scores);
  evaluation.set_nats(total.nats);
  evaluation.set_tokens(total.tokens);
  evaluation.set_bytes(total.bytes);
  for (const auto& [name, score] : scores_by_source(*documents_, scores)) {
    if (name.empty()) continue;  // the run has one source
    wire::SourceEvaluation& source = *evaluation.add_sources();
    source.set_name(name);
    source.set_nats(score.nats);
    source.set_tokens(score.tokens);
    source.set_bytes(score.bytes);
  }
  if (company().arena.format().has_ema) add_ema(record, evaluation);
  return evaluation;
}

void EvaluatorActor::add_ema(const wire::StepRecord& record, wire::Evaluation& evaluation) {
  const auto scores = scores_of(record, true);
  evaluation.set_ema_nats(sum_of(scores).nats);
  auto source = evaluation.mutable_sources()->begin();
  for (const auto& [name, score] : scores_by_source(*documents_, scores)) {
    if (!name.empty()) (source++)->set_ema_nats(score.nats);
  }
}

std::vector<Score> EvaluatorActor::scores_of(const wire::StepRecord& record, bool reads_ema) {
  const std::vector<float> bias(record.bias().begin(), record.bias().end());
  const Recipe recipe = company().timeline.recipe_of_state(record.step());
  if (scores_on_gpu()) return scores_of_gpu(record, recipe, bias);
  Decoder decoder({.arena = company().arena, .recipe = recipe, .routing_bias = bias,
                   .queue = queue_, .form = kernels::AttentionForm::expanded,
                   .state = record.step(), .page_rows = recipe.sequence_rows,
                   .reads_ema = reads_ema});
  return score_documents({.decoder = decoder, .queue = queue_, .documents = *documents_,
                          .context = recipe.sequence_rows, .progress = {}});
}

/// Whatever the number of processes, so that it shows in no loss. The EMA is the host's.
bool EvaluatorActor::scores_on_gpu() const {
  return company().device == kernels::Device::cuda && !company().arena.format().has_ema;
}

std::vector<Score> EvaluatorActor::scores_of_gpu(const wire::StepRecord& record, const Recipe& recipe,
                                                 const std::vector<float>& bias) {
  Company& all = company();
  kernels::Queue queue(queue_, all.device, recipe.arithmetic);
  const size_t phase = all.timeline.at(std::max<uint64_t>(record.step(), 1)).phase;
  // What other processes have is copied for a layer at a time.
  const std::unique_ptr<EvaluatorActor, void (*)(EvaluatorActor*)> at_end(
      this, [](EvaluatorActor* self) { self->forget_others(); });
  return score_by_forward({.queue = queue, .tensors = all.tensors, .recipe = recipe, .context = all.mla(phase),
                           .experts = all.plan.experts, .routing_bias = bias,
                           .view = {.state = record.step(), .scale_bits = 0,
                                    .epoch = runtime::unit_epoch(record.epoch(), record.step() + 1)},
                           .documents = *documents_, .sequence_rows = recipe.sequence_rows,
                           .rows_at_once = std::max(recipe.sequences, int64_t{1}) * recipe.sequence_rows,
                           .layer_done = [this] { forget_others(); }});
}

void EvaluatorActor::find_others() {
  const Company& all = company();
  std::vector<bool> is_held(static_cast<size_t>(all.arena.tensors()), false);
  const std::vector<runtime::Block>& blocks = all.arena.blocks();
  for (size_t id = 0; id < blocks.size(); ++id) {
    const Share share = all.placement.share(all.process, static_cast<int64_t>(id));
    if (share != Share::none) is_held[static_cast<size_t>(blocks[id].tensor)] = true;
  }
  for (int tensor = 0; tensor < all.arena.tensors(); ++tensor) {
    if (all.placement.uses(all.process, tensor)) continue;
    unused_.push_back(tensor);
    if (!is_held[static_cast<size_t>(tensor)]) foreign_.push_back(tensor);
  }
}

void EvaluatorActor::forget_others() const {
  company().arena.mirror()->forget_bf16(unused_);
  company().arena.mirror()->forget_weights(foreign_);
}

}  // namespace troupe::actors
