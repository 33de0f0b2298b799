#include "actors/train/evaluator.h"

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
  Decoder decoder({.arena = company().arena, .recipe = recipe, .routing_bias = bias,
                   .queue = queue_, .form = kernels::AttentionForm::expanded,
                   .state = record.step(), .page_rows = recipe.sequence_rows,
                   .reads_ema = reads_ema});
  return score_documents({.decoder = decoder, .queue = queue_, .documents = *documents_,
                          .context = recipe.sequence_rows, .progress = {}});
}

}  // namespace troupe::actors
