#pragma once

#include "actors/company_actor.h"

namespace troupe::actors {

/// Leads the actors of the model through one step: empties them, hands out tokens, gathers losses
/// and loads. Computes nothing itself.
class TrainerActor : public CompanyActor<Trainer> {
 public:
  using CompanyActor::CompanyActor;

  behavior_type make_behavior() override;
  void on_exit() override { attempt_.reset(); }

 private:
  using Report = Pb<wire::StepReport>;
  /// One begin from the coordinator, on its way.
  struct Attempt {
    Pb<wire::BeginStep> begin;  // with the denominators
    StepTokens tokens;
    wire::StepReport report;
    caf::typed_response_promise<Report> promise;
  };
  using AttemptPtr = std::shared_ptr<Attempt>;

  caf::result<Report> begin(const Pb<wire::BeginStep>& step);
  void clear(const AttemptPtr& attempt);
  void start(const AttemptPtr& attempt);
  void gather(const AttemptPtr& attempt);

  /// Sends a request to each actor of `roles`; then `next` when all have answered, or the first
  /// error to the coordinator. An attempt that another begin has replaced stops quietly.
  template <class Result, class... Ts>
  void ask_all(const AttemptPtr& attempt, const std::vector<Role>& roles,
               void (TrainerActor::*next)(const AttemptPtr&), const Ts&... values);
  void answered(const AttemptPtr& attempt, const std::shared_ptr<size_t>& missing,
                void (TrainerActor::*next)(const AttemptPtr&));
  void failed(const AttemptPtr& attempt, const Address& whom, const caf::error& error);
  void finish(const AttemptPtr& attempt);

  AttemptPtr attempt_;  // the one under way
};

}  // namespace troupe::actors
