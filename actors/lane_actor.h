// The base of every actor that computes: it owns one queue, its handlers enqueue and return, and
// completion comes back as a message.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "actors/company.h"
#include "runtime/error.h"

namespace troupe::actors {

/// True if epoch a comes before epoch b.
bool is_older(const wire::Epoch& a, const wire::Epoch& b);

/// Which of an actor's incoming edges a unit came by: part of its identity there.
enum class Edge : uint8_t { work, attended, routed, experts };

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
class LaneActor : public Interface::base {
 public:
  LaneActor(caf::actor_config& config, std::shared_ptr<Company> company)
      : Interface::base(config), company_(std::move(company)), queue_(company_->new_lane()) {}

  void on_exit() override { continuations_.clear(); }

 protected:
  using Super = LaneActor;

  Company& company() { return *company_; }
  kernels::Queue& queue() { return queue_; }
  StepView view() const {
    return {filter_.step().step() - 1, filter_.step().scale_bits()};
  }

  /// Calls `f` in this actor when everything enqueued so far has ended.
  void when_done(std::function<void()> f) {
    const uint64_t ticket = next_ticket_++;
    continuations_.emplace(ticket, std::move(f));
    then([self = self_handle(), ticket] { runtime::tell(self, resume_atom_v, ticket); });
  }

  /// Sends when everything enqueued so far has ended: the tensors are ready then.
  template <class Atom>
  void send_when_done(const Address& to, Atom atom, TokenMessage message) {
    then([company = company_, to, atom, message = std::move(message)] {
      if (const caf::actor actor = company->directory.find(to)) runtime::tell(actor, atom, message);
    });
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
    when_done([promise, make = std::move(make)]() mutable { promise.deliver(make()); });
    return promise;
  }
  caf::result<void> answer_when_done() {
    auto promise = this->template make_response_promise<void>();
    when_done([promise]() mutable { promise.deliver(); });
    return promise;
  }

  void resume(uint64_t ticket) {
    const auto found = continuations_.find(ticket);
    if (found == continuations_.end()) return;  // of an epoch that is over
    const std::function<void()> f = std::move(found->second);
    continuations_.erase(found);
    f();
  }

  void fail(const std::string& what) {
    this->quit(runtime::make_error(runtime::Errc::kernel_failed, what));
  }

  /// Forgets what the older epoch was to do next. Its operations stay in the queue, before ours.
  void begin_epoch(const wire::BeginStep& step) {
    continuations_.clear();
    filter_.begin(step);
  }
  bool accept(const wire::UnitId& id, Edge edge = Edge::work) { return filter_.accept(id, edge); }
  const wire::BeginStep& step() const { return filter_.step(); }

 private:
  Interface self_handle() { return caf::actor_cast<Interface>(this); }

  template <class F>
  void then(F f) {
    queue_.then([self = self_handle(), f = std::move(f)](std::exception_ptr error) {
      if (!error) return f();
      try {
        std::rethrow_exception(error);
      } catch (const std::exception& e) {
        runtime::tell(self, fault_atom_v, std::string(e.what()));
      }
    });
  }

  const std::shared_ptr<Company> company_;
  kernels::Queue& queue_;
  UnitFilter filter_;
  std::map<uint64_t, std::function<void()>> continuations_;
  uint64_t next_ticket_ = 1;
};

/// A tensor of a scratch, as it travels: its memory goes along, the scratch does not.
inline runtime::TensorRef share(const kernels::Scratch& scratch, const kernels::Tensor& tensor) {
  return {tensor, scratch.memory_of(tensor)};
}

/// The answer of a unit: its id with another sender.
runtime::Pb<wire::TokenHeader> answer_header(const wire::UnitId& id, int sender);

}  // namespace troupe::actors
