#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "actors/company.h"
#include "runtime/data/corpus.h"

namespace troupe::actors {

/// Scores the held-out documents under the state of a commit. It waits for its queue, so it has a
/// thread of its own.
class EvaluatorActor : public Evaluator::base {
 public:
  using Documents = std::shared_ptr<const std::vector<runtime::HeldOutDocument>>;

  EvaluatorActor(caf::actor_config& config, std::shared_ptr<Company> company, Documents documents)
      : Evaluator::base(config), company_(std::move(company)), documents_(std::move(documents)),
        queue_(company_->new_lane()) {}
  const char* name() const override { return "evaluator"; }

  behavior_type make_behavior() override;

 private:
  Pb<wire::Evaluation> evaluate(const wire::StepRecord& record);

  const std::shared_ptr<Company> company_;
  const Documents documents_;
  kernels::Queue& queue_;
};

/// Spawns the evaluator; nothing if there is no held-out document.
std::function<caf::actor(caf::actor_system&, std::shared_ptr<Company>)> evaluator_of(
    EvaluatorActor::Documents documents);

}  // namespace troupe::actors
