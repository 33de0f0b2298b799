// The base of every actor that computes: it owns one queue, its handlers enqueue and return, and
// completion comes back as a message.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "actors/company_actor.h"
#include "actors/messages/message_units.h"

namespace troupe::actors {

/// True if epoch a comes before epoch b.
bool is_older(const wire::Epoch& a, const wire::Epoch& b);

/// Which of an actor's incoming edges a unit came by: part of its identity there.
enum class Edge : uint8_t { work, attended, routed, experts, gradients, dispatched, reduced };

/// Unit law: which token messages of the current epoch have been taken already.
class UnitFilter {
 public:
  void begin(const wire::BeginStep& step);
  const wire::BeginStep& step() const { return step_; }
  /// False for a duplicate, and for a unit of an older epoch or another step.
  bool accept(const wire::UnitId& id, Edge edge);

 private:
  wire::BeginStep step_;
  std::set<std::tuple<uint32_t, int32_t, int, uint32_t, Edge>> seen_;
};

template <class Interface>
class LaneActor : public CompanyActor<Interface> {
 public:
  LaneActor(caf::actor_config& config, std::shared_ptr<Company> company, const Address& address,
            runtime::Cell* cell)
      : CompanyActor<Interface>(config, std::move(company), address, cell),
        queue_(this->company().lane(address)) {
    // The lane outlives its actors, and keeps none of them alive.
    queue_.on_error([self = this->address()](std::exception_ptr error) {
      if (const auto there = caf::actor_cast<caf::strong_actor_ptr>(self)) {
        tell_fault(caf::actor_cast<Interface>(there), error);
      }
    });
  }

  void on_exit() override {
    continuations_.clear();
    unanswered_.clear();
  }

 protected:
  using Super = LaneActor;

  kernels::Queue& queue() { return queue_; }
  /// The step as a micro-batch's work sees it.
  StepView view(uint32_t micro_batch) const {
    const wire::BeginStep& s = filter_.step();
    return {s.step() - 1, s.scale_bits(), this->company().units.get(),
            runtime::unit_epoch(s.epoch(), s.step()), micro_batch,
            numbers_.micro_batches, numbers_.mtp_weight};
  }

  /// Calls `f` in this actor when everything enqueued so far has ended.
  void when_done(std::function<void()> f) {
    const uint64_t ticket = keep(std::move(f));
    this->waits_for("its lane", continuations_.size());
    then([self = self_handle(), ticket] { runtime::tell(self, resume_atom_v, ticket); });
  }

  /// What somebody else calls, on any thread, for `f` to go on in this actor, with the same error or none. Of an epoch
  /// that is over it does nothing.
  std::function<void(const std::string& error)> hears(std::function<void(const std::string& error)> f) {
    const auto heard = std::make_shared<std::string>();
    const uint64_t ticket = keep([heard, f = std::move(f)] { f(*heard); });
    this->waits_for("the others of its group", continuations_.size());
    return [self = self_handle(), heard, ticket](const std::string& error) {
      *heard = error;
      runtime::tell(self, resume_atom_v, ticket);
    };
  }

  /// Sends when everything enqueued so far has ended: the tensors are ready then.
  template <class Atom>
  void send_when_done(const Address& to, Atom atom, TokenMessage message) {
    const bool has_payload = !message.tensors.empty();
    if (has_payload && message.tensors[0].view.count() > 0 && takes_flip()) {
      queue_.run(1, [tensor = message.tensors[0]](int64_t) { flip_bit(tensor.view); });
    }
    this->hands_out(message);
    const auto send = [company = this->shared_company(), from = this->place(), to, atom,
                       message = std::move(message)] {
      if (company->units && !message.tensors.empty()) record_message(*company, from, to, message);
      company->office.send(to, verb_of(atom), message);
    };
    if (const auto fault = take_reply_fault()) {
      if (fault->fault == Fault::delay) when_done_and(fault->delay, send);
      return;
    }
    then(send);
  }

  /// Sends to an actor of this process, which reads the tensors in its lane, when everything enqueued so far has
  /// been launched: the GPU goes on without the host. In a lane on the CPU, to another process, and where somebody
  /// looks at what is sent: when it has ended.
  template <class Atom>
  void send_in_order(const Address& to, Atom atom, TokenMessage message) {
    const auto& all = this->company();
    if (!queue_.is_cuda() || all.units || reply_fault_ || all.placement.process_of(to) != all.process) {
      return send_when_done(to, atom, std::move(message));
    }
    this->hands_out(message);
    queue_.hand_on([company = this->shared_company(), to, message = std::move(message)](kernels::MarkPtr mark) {
      TokenMessage marked = message;
      marked.ready = std::move(mark);
      company->office.send(to, verb_of(Atom()), marked);
    });
  }

  /// Lets go of what the lane's operations have used, when they have ended: what is handed on waits for no end. The
  /// lane goes on behind that.
  void let_go() {
    if (queue_.is_cuda()) queue_.then([](std::exception_ptr) {});
  }

  /// Keeps `memory` until everything enqueued so far has ended.
  void release_when_done(std::shared_ptr<const void> memory) {
    queue_.then([memory = std::move(memory)](std::exception_ptr) {});
  }

  /// Empties a container whose memory operations of an older epoch may still use.
  template <class Container>
  void retire(Container& passages) {
    release_when_done(std::make_shared<Container>(std::exchange(passages, {})));
  }

  /// A promise to answer when the queue is empty.
  template <class Result, class F>
  caf::result<Result> answer_when_done(F make) {
    auto promise = this->template make_response_promise<Result>();
    deliver_when_done(promise, [promise, make = std::move(make)]() mutable {
      promise.deliver(make());
    });
    return promise;
  }
  caf::result<void> answer_when_done() {
    auto promise = this->template make_response_promise<void>();
    deliver_when_done(promise, [promise]() mutable { promise.deliver(); });
    return promise;
  }

  /// Calls `deliver`, which fulfils `promise`, when everything enqueued so far has ended.
  template <class Promise, class F>
  void deliver_when_done(const Promise& promise, F deliver) {
    const auto fault = take_reply_fault();
    if (!fault) return when_done(std::move(deliver));
    if (fault->fault == Fault::delay) return when_done_and(fault->delay, std::move(deliver));
    unanswered_.push_back(std::make_shared<Promise>(promise));
  }

  void resume(uint64_t ticket) {
    const auto found = continuations_.find(ticket);
    if (found == continuations_.end()) return;  // of an epoch that is over
    const std::function<void()> f = std::move(found->second);
    continuations_.erase(found);
    if (continuations_.empty()) this->waits_for(nullptr);
    f();
  }

  void fail(const std::string& what) {
    this->quit(runtime::make_error(runtime::Errc::kernel_failed, what));
  }

  /// Unit law: a begin of an older epoch is refused.
  caf::error refusal(const wire::BeginStep& step) const {
    if (!is_older(step.epoch(), filter_.step().epoch())) return {};
    return runtime::make_error(runtime::Errc::stale_epoch,
                               "step " + std::to_string(step.step()) +
                                   " belongs to an epoch that is over");
  }

  /// Of who is asked what it has of a step: a life that has not begun it has none, whatever has become of what an
  /// earlier one left in the lane.
  caf::error lacks(uint64_t step) const {
    if (step == filter_.step().step()) return {};
    return runtime::make_error(runtime::Errc::stale_epoch,
                               "step " + std::to_string(step) + " has not begun at " + to_string(this->place()));
  }
  caf::error lacks(const wire::BeginStep& step) const {
    const wire::Epoch& own = filter_.step().epoch();
    const bool is_of_it = step.epoch().term() == own.term() && step.epoch().n() == own.n();
    if (is_of_it) return lacks(step.step());
    return runtime::make_error(runtime::Errc::stale_epoch, "an epoch of step " + std::to_string(step.step()) +
                                                               " has not begun at " + to_string(this->place()));
  }

  /// Comes to a phase of a step that it is told to begin or prepare, unless that is refused.
  caf::error enters(Phase phase, const wire::BeginStep& step) {
    caf::error stale = refusal(step);
    if (!stale) comes_to(phase, step.step());
    return stale;
  }
  /// The same of a unit of work; false for one that is not to be taken (unit law).
  bool takes(const TokenMessage& message, Phase phase) {
    if (!accept(message)) return false;
    comes_to(phase, message.id().step());
    return true;
  }

  /// Forgets what the older epoch was to do next. Its operations stay in the queue, before ours.
  void begin_epoch(const wire::BeginStep& step) {
    continuations_.clear();
    unanswered_.clear();
    filter_.begin(step);
    numbers_ = this->company().timeline.at(step.step());
    this->at_step(step.step());
  }
  /// False for a unit that is not to be taken. The lane reads the tensors of one that is when they are ready.
  bool accept(const TokenMessage& message, Edge edge = Edge::work) {
    if (!filter_.accept(message.id(), edge)) return false;
    queue_.wait_for(message.ready);
    return true;
  }
  const wire::BeginStep& step() const { return filter_.step(); }
  const StepNumbers& numbers() const { return numbers_; }

  /// A failpoint of this phase takes effect: it ends the actor, puts an operator that throws into
  /// its lane, or does something to its next answer.
  void comes_to(Phase phase, uint64_t step) {
    const auto fault = this->reached(phase, step);
    if (!fault) return;
    if (fault->fault != Fault::fail) {
      reply_fault_ = fault;
      return;
    }
    queue_.run(1, [text = "failpoint " + to_string(*fault)](int64_t) {
      throw kernels::KernelError(text);
    });
  }

  /// True once after a failpoint that flips a bit: of the next payload, or of what is held here.
  bool takes_flip() {
    if (!reply_fault_ || reply_fault_->fault != Fault::flip) return false;
    reply_fault_.reset();
    return true;
  }

 private:
  /// A flip is for payloads alone, and stays for the next.
  std::optional<Failpoint> take_reply_fault() {
    if (reply_fault_ && reply_fault_->fault == Fault::flip) return std::nullopt;
    return std::exchange(reply_fault_, std::nullopt);
  }

  Interface self_handle() { return caf::actor_cast<Interface>(this); }

  uint64_t keep(std::function<void()> f) {
    continuations_.emplace(next_ticket_, std::move(f));
    return next_ticket_++;
  }

  template <class F>
  void then(F f) {
    queue_.then([self = self_handle(), f = std::move(f)](std::exception_ptr error) {
      try {
        if (!error) return f();
      } catch (const std::exception&) {
        error = std::current_exception();
      }
      tell_fault(self, error);
    });
  }
  static void tell_fault(const Interface& self, std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      runtime::tell(self, fault_atom_v, std::string(e.what()));
    }
  }

  /// Calls `f` in this actor `delay` after everything enqueued so far has ended.
  void when_done_and(std::chrono::milliseconds delay, std::function<void()> f) {
    when_done([this, delay, f = std::move(f)] {
      runtime::tell_later(this, delay, resume_atom_v, keep(f));
    });
  }

  kernels::Queue& queue_;
  UnitFilter filter_;
  StepNumbers numbers_{};  // of its step
  std::map<uint64_t, std::function<void()>> continuations_;
  uint64_t next_ticket_ = 1;
  std::optional<Failpoint> reply_fault_;           // for the next answer
  std::vector<std::shared_ptr<void>> unanswered_;  // promises that a failpoint keeps
};

/// A tensor of a scratch, as it travels: its memory goes along, the scratch does not.
inline runtime::TensorRef share(const kernels::Scratch& scratch, const kernels::Tensor& tensor) {
  return {tensor, scratch.memory_of(tensor)};
}

/// The answer of a unit: its id with another sender.
runtime::Pb<wire::TokenHeader> answer_header(const wire::UnitId& id, int sender);

}  // namespace troupe::actors
