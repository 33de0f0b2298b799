#pragma once

#include <chrono>

#include "actors/messages/fan_out.h"

namespace troupe::actors {

/// Leads the actors of its process through a step, and sums what they report, so that a phase costs
/// one message a process. Computes nothing itself, and remembers nothing from one request to the
/// next but what its process has computed: an actor that gets something of an older epoch refuses it
/// (unit law).
class CrewActor : public CompanyActor<Crew> {
 public:
  using CompanyActor::CompanyActor;

  behavior_type make_behavior() override;

 private:
  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  caf::result<Pb<wire::StepReport>> start(const Pb<wire::BeginStep>& step, const StepTokens& tokens);
  caf::result<Pb<wire::Prepared>> prepare(const Pb<wire::BeginStep>& step);
  caf::result<Pb<wire::Applied>> commit(const Pb<wire::StepRecord>& record, bool with_hashes);

  caf::error lacks_state(const char* what_for, uint64_t step) const;
  caf::result<void> restore(const Pb<wire::StepRecord>& record, int32_t process);
  /// To the shards; `when_done` is called when all have answered.
  template <class Atom, class... Ts>
  caf::result<void> pass_on(std::function<void()> when_done, Atom atom,
                            const Pb<wire::StepRecord>& record, const Ts&... more);

  /// What this process has sent and computed so far.
  void add_use(wire::Applied& applied);

  /// Those of this process.
  Cast cast_of(std::initializer_list<Role> roles) const;
  std::function<void(size_t)> waits_for_answers();

  // Time that threads computed for micro-batches: of all steps, and all before those of this one.
  std::chrono::nanoseconds unit_work_{0}, unit_work_begun_{0};
};

}  // namespace troupe::actors
