#include "actors/train/evaluator.h"

#include "actors/model/scorer.h"
#include "runtime/error.h"

namespace troupe::actors {

EvaluatorActor::behavior_type EvaluatorActor::make_behavior() {
  return {[this](evaluate_atom, const Pb<wire::StepRecord>& record) { return evaluate(*record); }};
}

Pb<wire::Evaluation> EvaluatorActor::evaluate(const wire::StepRecord& record) {
  const std::vector<float> bias(record.bias().begin(), record.bias().end());
  Decoder decoder({.arena = company_->arena, .recipe = company_->recipe, .routing_bias = bias,
                   .queue = queue_, .form = kernels::AttentionForm::expanded,
                   .state = record.step(), .page_rows = company_->recipe.sequence_rows});
  const Score total = score({.decoder = decoder, .queue = queue_, .documents = *documents_,
                             .context = company_->recipe.sequence_rows, .progress = {}});
  wire::Evaluation evaluation;
  evaluation.set_state(record.step());
  evaluation.set_nats(total.nats);
  evaluation.set_tokens(total.tokens);
  evaluation.set_bytes(total.bytes);
  return evaluation;
}

std::function<caf::actor(caf::actor_system&, std::shared_ptr<Company>)> evaluator_of(
    EvaluatorActor::Documents documents) {
  if (!documents || documents->empty()) return {};
  return [documents](caf::actor_system& system, std::shared_ptr<Company> company) {
    return caf::actor_cast<caf::actor>(
        system.spawn<EvaluatorActor, caf::detached>(std::move(company), documents));
  };
}

}  // namespace troupe::actors
