// What others may ask of a supervisor.
#include "runtime/supervision/supervisor_core.h"

namespace troupe::runtime {
namespace {

Answer refusal(Outcome outcome, std::string text = {}) {
  return {.outcome = outcome, .text = std::move(text)};
}

}  // namespace

std::vector<ChildStatus> SupervisorCore::which_children() const {
  std::vector<ChildStatus> out;
  const std::vector<Place> places = children_.from();
  for (auto place = places.rbegin(); place != places.rend(); ++place) {
    const Child& child = children_.at(*place);
    const bool runs = child.state == ChildState::running;
    out.push_back(
        {child.spec->id, child.state, runs ? child.incarnation : 0, child.spec->type});
  }
  return out;
}

ChildCounts SupervisorCore::count_children() const {
  ChildCounts counts{.specs = is_simple() ? 1 : children_.size()};
  for (const Place place : children_.from()) {
    const Child& child = children_.at(place);
    counts.active += child.state == ChildState::running;
    ++(child.spec->type == ChildType::worker ? counts.workers : counts.supervisors);
  }
  return counts;
}

void SupervisorCore::on_call(RequestId request, const Call& call) {
  const std::optional<Answer> answered = std::visit(
      [&](const auto& wanted) -> std::optional<Answer> {
        if constexpr (requires { begin_call(request, wanted); }) {
          return begin_call(request, wanted);
        } else {
          return answer(wanted);
        }
      },
      call);
  if (answered) reply(request, *answered);
}

Answer SupervisorCore::answer(const call::WhichChildren&) const {
  return {.children = which_children()};
}

Answer SupervisorCore::answer(const call::CountChildren&) const {
  return {.counts = count_children()};
}

Answer SupervisorCore::answer(const call::GetSpec& wanted) const {
  if (is_simple() && template_->id == wanted.id) return {.spec = *template_};
  const auto place = children_.find(wanted.id);
  if (is_simple() || !place) return refusal(Outcome::not_found);
  return {.spec = *children_.at(*place).spec};
}

Answer SupervisorCore::answer(const call::DeleteChild& wanted) {
  if (is_simple()) return refusal(Outcome::simple_one_for_one);
  const auto place = children_.find(wanted.id);
  if (!place) return refusal(Outcome::not_found);
  switch (children_.at(*place).state) {
    case ChildState::running: return refusal(Outcome::running);
    case ChildState::restarting: return refusal(Outcome::restarting);
    case ChildState::undefined: children_.erase(*place);
  }
  return {};
}

Answer SupervisorCore::answer(const call::ChangeSpecs& wanted) {
  std::vector<ChildSpec> specs;
  try {
    specs = checked(wanted.specs, flags_);
  } catch (const SpecError& error) {
    return refusal(Outcome::bad_spec, error.what());
  }
  if (is_simple()) {
    template_ = std::make_shared<const ChildSpec>(std::move(specs.front()));
    for (const Place place : children_.from()) children_.at(place).spec = template_;
  } else {
    children_.change_specs(specs);
  }
  return {};
}

std::optional<Answer> SupervisorCore::begin_call(RequestId request,
                                                 const call::StartChild& wanted) {
  if (is_simple()) return refusal(Outcome::simple_one_for_one);
  ChildSpec spec;
  try {
    spec = checked(wanted.spec, flags_.auto_shutdown);
  } catch (const SpecError& error) {
    return refusal(Outcome::bad_spec, error.what());
  }
  if (const auto place = children_.find(spec.id)) {
    const Child& child = children_.at(*place);
    if (child.state != ChildState::running) return refusal(Outcome::already_present);
    return Answer{.outcome = Outcome::already_started, .child = child.incarnation};
  }
  const Place place = children_.add({.spec = std::make_shared<const ChildSpec>(std::move(spec))});
  operation_ = Operation{.task = Task::start_child, .request = request, .steps = {{true, place}}};
  return std::nullopt;
}

std::optional<Answer> SupervisorCore::begin_call(RequestId request,
                                                 const call::StartDynamic& wanted) {
  if (!is_simple()) return refusal(Outcome::bad_spec, "the supervisor is not simple_one_for_one");
  Child child{.spec = template_};
  child.argument = std::make_unique<std::string>(wanted.argument);
  const Place place = children_.add(std::move(child));
  operation_ = Operation{.task = Task::start_child, .request = request, .steps = {{true, place}}};
  return std::nullopt;
}

std::optional<Answer> SupervisorCore::begin_call(RequestId request,
                                                 const call::TerminateChild& wanted) {
  if (is_simple()) return refusal(Outcome::simple_one_for_one);
  const auto place = children_.find(wanted.id);
  if (!place) return refusal(Outcome::not_found);
  operation_ =
      Operation{.task = Task::terminate_child, .request = request, .steps = {{false, *place}}};
  return std::nullopt;
}

std::optional<Answer> SupervisorCore::begin_call(RequestId request,
                                                 const call::TerminateDynamic& wanted) {
  const auto place = is_simple() ? children_.find_last(wanted.child) : std::nullopt;
  if (!place) return refusal(Outcome::not_found);
  operation_ =
      Operation{.task = Task::terminate_child, .request = request, .steps = {{false, *place}}};
  return std::nullopt;
}

std::optional<Answer> SupervisorCore::begin_call(RequestId request,
                                                 const call::RestartChild& wanted) {
  if (is_simple()) return refusal(Outcome::simple_one_for_one);
  const auto place = children_.find(wanted.id);
  if (!place) return refusal(Outcome::not_found);
  switch (children_.at(*place).state) {
    case ChildState::running: return refusal(Outcome::running);
    case ChildState::restarting: return refusal(Outcome::restarting);
    case ChildState::undefined: break;
  }
  operation_ =
      Operation{.task = Task::restart_child, .request = request, .steps = {{true, *place}}};
  return std::nullopt;
}

}  // namespace troupe::runtime
