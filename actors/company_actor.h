// The base of every actor of a company: it can be looked at from outside (glass law), failpoints end
// it where they are told to, and an exception in a handler ends it with its text.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actors/company.h"
#include "actors/messages/deadline_watch.h"
#include "runtime/error.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::actors {

/// Ends an actor like a kill from outside.
struct Killed : std::exception {};

/// What an exception in a handler ends an actor with.
caf::error error_of(const std::exception_ptr& thrown);

/// The unit that a handler's arguments speak of, for the glass.
inline runtime::UnitTag tag_of() { return {}; }
template <class... Ts>
runtime::UnitTag tag_of(const TokenMessage& message, const Ts&...) {
  const wire::UnitId& id = message.id();
  return {static_cast<uint32_t>(id.step()), static_cast<uint16_t>(id.micro_batch()),
          static_cast<int16_t>(id.layer())};
}
template <class... Ts>
runtime::UnitTag tag_of(const Pb<wire::BeginStep>& begin, const Ts&...) {
  return {static_cast<uint32_t>(begin->step()), 0, -1};
}
template <class... Ts>
runtime::UnitTag tag_of(const Pb<wire::StepRecord>& record, const Ts&...) {
  return {static_cast<uint32_t>(record->step()), 0, -1};
}
// Behind the others: arguments of other namespaces do not find what is declared later.
template <class T, class... Ts>
runtime::UnitTag tag_of(const T&, const Ts&... rest) { return tag_of(rest...); }

/// A promise that the ways in which a request may end share.
template <class Promise>
std::shared_ptr<Promise> promised(Promise promise) {
  return std::make_shared<Promise>(std::move(promise));
}

template <class Interface>
class CompanyActor : public Interface::base {
 public:
  CompanyActor(caf::actor_config& config, std::shared_ptr<Company> company, const Address& address,
               runtime::Cell* cell)
      : Interface::base(config), company_(std::move(company)), place_(address), cell_(cell) {
    runtime::on_exception(this, [](const std::exception_ptr& thrown) { return error_of(thrown); });
  }

  const char* name() const override { return to_string(place_.role); }

  /// The deadlines of what it asks others for.
  DeadlineWatch& deadline_watch() { return deadline_watch_; }

  bool enqueue(caf::mailbox_element_ptr element, caf::execution_unit* unit) override {
    if (cell_ && runtime::is_for_handler(*element)) cell_->arrived();
    return Interface::base::enqueue(std::move(element), unit);
  }

  caf::resumable::resume_result resume(caf::execution_unit* unit, size_t most) override {
    const uint64_t resumed = cell_ ? cell_->resumes() : 0;
    const auto result = Interface::base::resume(unit, most);
    if (cell_) cell_->rests(resumed);
    return result;
  }

 protected:
  Company& company() const { return *company_; }
  const std::shared_ptr<Company>& shared_company() const { return company_; }
  const Address& place() const { return place_; }

  /// A handler that can be seen at work: `kind` is what its message is called.
  template <class F>
  auto seen(const char* kind, F handler) {
    return make_seen(kind, std::move(handler), &F::operator());
  }

  /// What this actor waits for, for the glass; null: nothing.
  void waits_for(const char* what, uint64_t missing = 0) {
    if (!cell_) return;
    what ? cell_->waiting_for(kind_of(what), missing) : cell_->waits_no_more();
  }

  /// Counts the tensors of a message for the glass.
  void hands_out(const TokenMessage& message) {
    if (!cell_) return;
    int64_t bytes = 0;
    for (const auto& tensor : message.tensors) {
      bytes += tensor.view.count() * kernels::size_of(tensor.view.dtype);
    }
    cell_->add_bytes(static_cast<uint64_t>(bytes));
  }

  void at_step(uint64_t step) {
    if (cell_) cell_->set_step(step);
  }

  /// A failpoint that fires here is witnessed. A kill ends the actor at once, by an exception.
  std::optional<Failpoint> reached(Phase phase, uint64_t step) {
    if (company_->failpoints.is_empty()) return std::nullopt;
    auto f = company_->failpoints.reached(
        {place_.role, company_->index_of(place_), step, phase});
    if (!f) return std::nullopt;
    wire::Event event;
    event.set_kind(wire::Event::FAILPOINT);
    event.set_actor(to_string(place_));
    event.set_step(step);
    event.set_text(to_string(*f));
    event.set_unix_us(runtime::unix_us());
    company_->happened(std::move(event));
    if (f->fault == Fault::kill) throw Killed{};
    if (is_of_surroundings(f->fault)) return std::nullopt;
    if (is_of_process(f->fault)) {
      if (company_->failpoints.strike) company_->failpoints.strike(f->fault);
      return std::nullopt;
    }
    return f;
  }
  /// The same where nothing can be dropped or delayed.
  void passes(Phase phase, uint64_t step) {
    if (const auto f = reached(phase, step)) throw std::runtime_error("failpoint " + to_string(*f));
  }

 private:
  template <class F, class R, class... Ts>
  auto make_seen(const char* kind, F handler, R (F::*)(Ts...) const) {
    const runtime::MessageKind what = cell_ ? kind_of(kind) : runtime::MessageKind::other;
    return [this, what, handler = std::move(handler)](Ts... values) -> R {
      constexpr bool has_credit = (std::is_same_v<std::decay_t<Ts>, TokenMessage> || ...);
      if constexpr (has_credit) take_credit();
      if (!cell_) return handler(std::forward<Ts>(values)...);
      const runtime::CellTurn turn(*cell_, what, tag_of(values...));
      return handler(std::forward<Ts>(values)...);
    };
  }

  void take_credit() {
    std::shared_ptr<Post> post = post_.lock();
    if (!post) post_ = post = company_->directory.post(place_);
    if (post) post->taken();
  }

  /// Literals are told apart by where they stand: the glass is asked once for each.
  runtime::MessageKind kind_of(const char* name) {
    for (const auto& [known, kind] : kinds_) {
      if (known == name) return kind;
    }
    return kinds_.emplace_back(name, company_->glass->kind(name)).second;
  }

  const std::shared_ptr<Company> company_;
  const Address place_;
  runtime::Cell* const cell_;
  DeadlineWatch deadline_watch_{this};
  std::weak_ptr<Post> post_;  // of its own mailbox
  std::vector<std::pair<const char*, runtime::MessageKind>> kinds_;
};

}  // namespace troupe::actors
