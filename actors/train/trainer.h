#pragma once

#include "actors/messages/fan_out.h"

namespace troupe::actors {

/// Leads the crews through one step: draws its tokens, lets everybody begin, hands out the tokens,
/// sums losses and loads. Computes nothing itself.
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
    std::shared_ptr<const std::vector<MicroBatch>> tokens;
    wire::StepReport report;
    caf::typed_response_promise<Report> promise;
  };
  using AttemptPtr = std::shared_ptr<Attempt>;

  caf::result<Report> begin(const Pb<wire::BeginStep>& step);
  void start(const AttemptPtr& attempt);
  void gather(const AttemptPtr& attempt);
  std::function<void(const caf::error&)> failed(const AttemptPtr& attempt);
  std::function<void(size_t)> waits_for_answers(const AttemptPtr& attempt);

  AttemptPtr attempt_;  // the one under way
};

}  // namespace troupe::actors
