#include "runtime/supervision/supervisor_actor.h"

#include "runtime/error.h"

namespace troupe::runtime {
namespace {

Instant time_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

/// A message's begin and end, where there is a cell.
class Turn {
 public:
  explicit Turn(Cell* cell) : cell_(cell) {
    if (cell_) cell_->begin(MessageKind::other);
  }
  ~Turn() {
    if (cell_) cell_->end();
  }

 private:
  Cell* const cell_;
};

}  // namespace

ExitReason exit_reason_of(const caf::error& reason) {
  if (!reason || reason == caf::exit_reason::normal) return ExitReason::normal();
  if (reason == caf::exit_reason::user_shutdown) return ExitReason::shutdown();
  if (reason == caf::exit_reason::kill) return ExitReason::killed();
  return ExitReason::failure(describe(reason));
}

SupervisorActor::SupervisorActor(caf::actor_config& config, Args args)
    : Supervisor::base(config), args_(std::move(args)), core_(args_.flags, args_.children) {}

SupervisorActor::behavior_type SupervisorActor::make_behavior() {
  on_exit_request(this, [this](const caf::error& reason) {
    happened(event::Stop{exit_reason_of(reason)});
  });
  happened(event::Begin{});
  return {
      [this](exited_atom, uint64_t child, uint8_t kind, const std::string& text) {
        const Turn turn(args_.cell);
        children_.erase(child);
        happened(event::Exited{child, {static_cast<ExitReason::Kind>(kind), text}});
      },
      [this](timer_atom, uint64_t timer) {
        const Turn turn(args_.cell);
        happened(event::TimerFired{timer});
      },
      [this](begun_atom) -> caf::result<void> {
        const Turn turn(args_.cell);
        if (core_.has_begun()) return caf::unit;
        return until_begun_.emplace_back(make_response_promise<void>());
      },
      [this](const SupervisorCall& asked) -> caf::result<SupervisorAnswer> {
        const Turn turn(args_.cell);
        auto promise = make_response_promise<SupervisorAnswer>();
        promises_.emplace(++last_request_, promise);
        happened(event::Called{last_request_, *asked.call});
        return promise;
      },
  };
}

void SupervisorActor::on_exit() {
  children_.clear();
  promises_.clear();
  until_begun_.clear();
}

bool SupervisorActor::enqueue(caf::mailbox_element_ptr element, caf::execution_unit* unit) {
  if (args_.cell && is_for_handler(*element)) args_.cell->arrived();
  return Supervisor::base::enqueue(std::move(element), unit);
}

/// Effects are played in order, and what they cause comes after all of them.
void SupervisorActor::happened(Event event) {
  events_.push_back(std::move(event));
  if (std::exchange(is_playing_, true)) return;
  while (!events_.empty()) {
    Event next = std::move(events_.front());
    events_.pop_front();
    for (const Effect& effect : core_.handle(time_now(), std::move(next))) {
      std::visit([this](const auto& each) { play(each); }, effect);
    }
  }
  is_playing_ = false;
  if (!core_.has_begun()) return;
  for (auto& promise : until_begun_) promise.deliver();
  until_begun_.clear();
}

void SupervisorActor::play(const effect::Start& start) {
  caf::actor child;
  try {
    child = args_.start(start);
  } catch (const std::exception& error) {
    return events_.push_back(event::StartFailed{start.child, error.what()});
  }
  if (!child) return events_.push_back(event::Ignored{start.child});
  children_.emplace(start.child, child);
  // Urgently: a child's end is dealt with before whatever else waits here.
  on_end(child, [self = caf::actor_cast<caf::actor_addr>(this), life = start.child](const caf::error& reason) {
    const ExitReason why = exit_reason_of(reason);
    if (const auto supervisor = caf::actor_cast<caf::actor>(self)) {
      tell_urgently(supervisor, exited_atom_v, life, static_cast<uint8_t>(why.kind), why.text);
    }
  });
  if (start.type == ChildType::worker) return events_.push_back(event::Started{start.child});
  // If it ends instead, that is heard as its end.
  ask(this, caf::actor_cast<Supervisor>(child), caf::infinite, begun_atom_v)
      .then([this, life = start.child] { happened(event::Started{life}); },
            [](const caf::error&) {});
}

void SupervisorActor::play(const effect::Signal& signal) {
  const auto child = children_.find(signal.child);
  if (child == children_.end()) return;  // its end is on its way
  stop_actor(child->second,
             signal.kill ? caf::exit_reason::kill : caf::exit_reason::user_shutdown);
}

void SupervisorActor::play(const effect::ArmTimer& timer) {
  if (timer.delay.count() > 0) return tell_later(this, timer.delay, timer_atom_v, timer.timer);
  tell(caf::actor_cast<caf::actor>(this), timer_atom_v, timer.timer);
}

void SupervisorActor::play(const effect::Reply& reply) {
  const auto promise = promises_.find(reply.request);
  promise->second.deliver(SupervisorAnswer{std::make_shared<const Answer>(reply.answer)});
  promises_.erase(promise);
}

void SupervisorActor::play(const effect::Log& log) {
  if (args_.log) args_.log(args_.name, log);
}

void SupervisorActor::play(const effect::End& end) {
  switch (end.reason.kind) {
    case ExitReason::Kind::normal: return quit();
    case ExitReason::Kind::shutdown: return quit(caf::exit_reason::user_shutdown);
    case ExitReason::Kind::killed: return quit(caf::exit_reason::kill);
    case ExitReason::Kind::failure: return quit(make_error(Errc::supervisor_ended, end.reason.text));
  }
}

}  // namespace troupe::runtime
