#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "actors/company_actor.h"
#include "actors/inference/scorer.h"
#include "runtime/data/corpus.h"

namespace troupe::actors {

/// Scores the held-out documents under the state of a commit, and under the EMA of its weights if it
/// has one. It waits for its queue, so it has a
/// thread of its own.
class EvaluatorActor : public CompanyActor<Evaluator> {
 public:
  using Documents = std::shared_ptr<const std::vector<runtime::HeldOutDocument>>;

  EvaluatorActor(caf::actor_config& config, std::shared_ptr<Company> company,
                 const Address& address, runtime::Cell* cell, Documents documents)
      : CompanyActor(config, std::move(company), address, cell), documents_(std::move(documents)),
        queue_(this->company().lane(address)) {
    find_others();
  }

  behavior_type make_behavior() override;

 private:
  Pb<wire::Evaluation> evaluate(const wire::StepRecord& record);
  void add_ema(const wire::StepRecord& record, wire::Evaluation& evaluation);
  /// Of each document.
  std::vector<Score> scores_of(const wire::StepRecord& record, bool reads_ema);

  bool scores_on_gpu() const;
  void find_others();
  std::vector<Score> scores_of_gpu(const wire::StepRecord& record, const Recipe& recipe,
                                   const std::vector<float>& bias);

  /// Gives back what the GPU has got of tensors that this process does not compute with.
  void forget_others() const;

  const Documents documents_;
  // Tensors that this process does not use: of some it has blocks, as who keeps copies.
  std::vector<int> unused_, foreign_;
  kernels::Queue& queue_;
};

}  // namespace troupe::actors
