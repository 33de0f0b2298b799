// With which processes a run goes on, and from which state: at first, behind a lost leader, and when processes
// come or go.
#include <iostream>

#include "actors/placement/placement.h"
#include "deploy/options/device_option.h"
#include "deploy/train/lead_run.h"
#include "runtime/cluster/cluster_error.h"

namespace troupe::deploy {

/// False: the run has ended elsewhere.
bool RunLead::take_part(Part& part) {
  auto history = runtime::read_journal(folder_.path() / "journal");
  if (change_) {
    take_next_part(part, history);
  } else {
    part.mandate = take_the_lead(prepared_, *life_, history);
  }
  leadership_ = std::move(part.mandate.leadership);
  if (!part.mandate.end.empty()) {
    std::cout << "the run has ended elsewhere: " << part.mandate.end << std::endl;
    return false;
  }
  HeldParts parts({.run = setup_.run, .model = setup_.model, .cores = setup_.cores,
                   .shape = recipe_.shape, .arena = arena_});
  if (change_) {
    gather_others(part, history, parts);
  } else {
    part.gathered = gather(prepared_, leadership_.get(), part.mandate, history, children_, parts);
  }
  if (part.gathered.nodes) prepared_.setup.plan.buddy_stride = part.gathered.nodes->buddy_stride();
  part.is_moving = part.gathered.nodes && part.gathered.nodes->regroup();
  if (part.is_moving) {
    part.moves = parts.moves(*part.gathered.nodes->regroup(), setup_.plan.processes, setup_.plan.buddy_stride);
    check_moves(part);
  }
  actors::expect_part(setup_.plan, recipe_.shape, 0, device_of(setup_.run.run.cluster()), arena_);
  const StartingPointArgs point{.folder = folder_.path(),
                                .history = std::move(history),
                                .arena = arena_,
                                .recipe = recipe_,
                                .newest_state = static_cast<uint64_t>(recipe_.steps)};
  const bool goes_on_alone = !part.is_moving && !part.gathered.takes_over;
  part.start = part.is_moving              ? regroup_point(point)
               : part.gathered.takes_over ? takeover_point(point)
                                            : starting_point(point);
  const std::string untraced = goes_on_alone ? trace_objection(setup_.run.run, part.start.from.record.step()) : "";
  if (!untraced.empty()) part.start.notes.push_back(untraced);
  for (const std::string& note : part.start.notes) std::cout << "note: " << note << "\n" << std::flush;
  part.is_first_state = !part.gathered.takes_over && part.start.from.record.step() == 0;
  if (part.is_first_state) part.start.bias = initial_state(setup_, recipe_, arena_);
  part.hands_out_state = part.gathered.nodes && !part.gathered.takes_over && !part.is_moving &&
                         (!part.is_first_state || setup_.weights);
  if (!last_) last_ = part.start.last;
  return true;
}

/// The same process leads on, in a new term; under a lease it follows itself.
void RunLead::take_next_part(Part& part, runtime::JournalHistory& history) {
  const auto before = std::move(leadership_);
  if (before) before->lease().leave();
  next_life_ = life_->with_processes(change_->processes);
  life_ = &next_life_;
  part.mandate = take_the_lead(prepared_, *life_, history);
  if (!part.mandate.loss.empty()) {
    throw Fenced("this process was about to lead the run with other processes: " + part.mandate.loss);
  }
}

void RunLead::gather_others(Part& part, const runtime::JournalHistory& history, HeldParts& parts) {
  const uint64_t state = history.commits.size();
  wire::HeldPart own;
  for (const wire::HeldPart& one : held_) {
    const StatesHeld held = states_held(arena_, parts.placement(one.processes(), one.buddy_stride()), 0);
    if (held.oldest != state || held.newest != state) continue;
    (own.processes() == 0 ? own : *own.add_also()) = one;
  }
  const int before = held_.front().processes();
  const int others = before - 1 - static_cast<int>(change_->leaving.size());
  part.gathered = regroup(prepared_, leadership_.get(), children_, parts,
                          {.processes = change_->processes, .stayers = others,
                           .leaving = change_->leaving, .before = before, .state = state, .own = own,
                           .have_all = {}, .choose = {}},
                          signals_ ? &*signals_ : nullptr);
}

/// Throws BeginAgain if the run cannot go on with what its processes hold.
void RunLead::check_moves(const Part& part) const {
  if (part.moves.lost.empty()) return;
  const std::string why = "nobody is left with " + std::to_string(part.moves.lost.size()) +
                          " of the blocks of the run's state";
  wire::JoinFrame frame;
  frame.mutable_refusal()->set_text(why + "; it goes on from its newest checkpoint");
  part.gathered.nodes->members().tell(frame);
  for (runtime::Member& guest : part.gathered.nodes->guests()) guest.socket.send(frame);
  throw BeginAgain(why);
}

}  // namespace troupe::deploy
