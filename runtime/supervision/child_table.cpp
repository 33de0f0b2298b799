#include "runtime/supervision/child_table.h"

#include <utility>

namespace troupe::runtime {

Place ChildTable::add(Child child) {
  const Place place = next_place_++;
  if (child.state == ChildState::running) running_[child.incarnation] = place;
  children_.emplace(place, std::move(child));
  return place;
}

void ChildTable::erase(Place place) {
  set_undefined(place);
  children_.erase(place);
}

void ChildTable::set_running(Place place, Incarnation incarnation) {
  set_undefined(place);
  Child& child = at(place);
  child.state = ChildState::running;
  child.incarnation = incarnation;
  running_[incarnation] = place;
}

void ChildTable::set_restarting(Place place, TimerId retry) {
  Child& child = at(place);
  running_.erase(child.incarnation);
  child.state = ChildState::restarting;
  child.retry = retry;
}

void ChildTable::set_undefined(Place place) {
  Child& child = at(place);
  running_.erase(child.incarnation);
  child.state = ChildState::undefined;
  child.incarnation = 0;
  child.retry = 0;
}

const Place* ChildTable::find(Incarnation incarnation) const {
  const auto found = running_.find(incarnation);
  return found == running_.end() ? nullptr : &found->second;
}

std::optional<Place> ChildTable::find(const std::string& id) const {
  for (const auto& [place, child] : children_) {
    if (child.spec->id == id) return place;
  }
  return std::nullopt;
}

std::optional<Place> ChildTable::find_restarting(TimerId retry) const {
  for (const auto& [place, child] : children_) {
    if (child.state == ChildState::restarting && child.retry == retry) return place;
  }
  return std::nullopt;
}

std::optional<Place> ChildTable::find_last(Incarnation incarnation) const {
  if (const Place* place = find(incarnation)) return *place;
  for (const auto& [place, child] : children_) {
    if (child.state == ChildState::restarting && child.incarnation == incarnation) return place;
  }
  return std::nullopt;
}

std::vector<Place> ChildTable::from(Place first) const {
  std::vector<Place> out;
  for (auto it = children_.lower_bound(first); it != children_.end(); ++it) {
    out.push_back(it->first);
  }
  return out;
}

void ChildTable::change_specs(const std::vector<ChildSpec>& specs) {
  std::map<Place, Child> old = std::exchange(children_, {});
  running_.clear();
  for (const ChildSpec& spec : specs) {
    Child child{.spec = {}};
    for (auto it = old.begin(); it != old.end(); ++it) {
      if (it->second.spec->id != spec.id) continue;
      child = std::move(it->second);
      old.erase(it);
      break;
    }
    child.spec = std::make_shared<const ChildSpec>(spec);
    add(std::move(child));
  }
  for (auto& [place, child] : old) add(std::move(child));
}

}  // namespace troupe::runtime
