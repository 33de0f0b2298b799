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
  const Score total = score_of(record, false);
  wire::Evaluation evaluation;
  evaluation.set_state(record.step());
  evaluation.set_nats(total.nats);
  evaluation.set_tokens(total.tokens);
  evaluation.set_bytes(total.bytes);
  if (company().arena.format().has_ema) evaluation.set_ema_nats(score_of(record, true).nats);
  return evaluation;
}

Score EvaluatorActor::score_of(const wire::StepRecord& record, bool reads_ema) {
  const std::vector<float> bias(record.bias().begin(), record.bias().end());
  const Recipe recipe = company().timeline.recipe_of_state(record.step());
  Decoder decoder({.arena = company().arena, .recipe = recipe, .routing_bias = bias,
                   .queue = queue_, .form = kernels::AttentionForm::expanded,
                   .state = record.step(), .page_rows = recipe.sequence_rows,
                   .reads_ema = reads_ema});
  return score({.decoder = decoder, .queue = queue_, .documents = *documents_,
                .context = recipe.sequence_rows, .progress = {}});
}

}  // namespace troupe::actors
