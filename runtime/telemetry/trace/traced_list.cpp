#include "runtime/telemetry/trace/traced_list.h"

#include <algorithm>
#include <string>

namespace troupe::runtime {

const char* to_string(Pause::For reason) {
  switch (reason) {
    case Pause::For::other_process: return "another process";
    case Pause::For::same_process: return "this process";
    case Pause::For::nothing: break;
  }
  return "nothing";
}

bool TracedList::is_complete() const {
  return end_ns > 0 && std::ranges::all_of(operations, [](const auto& each) { return each.end_ns > 0; });
}

std::vector<PlayedTurn> turns_of(const TracedList& list) {
  std::vector<PlayedTurn> turns;
  const int size = static_cast<int>(list.operations.size());
  for (int at = 0; at < size;) {
    const TracedOperation& first = list.operations[static_cast<size_t>(at)];
    PlayedTurn turn{at, 1, first.begin_ns, first.end_ns};
    if (first.operation.is_beside_next && at + 1 < size) {
      const TracedOperation& second = list.operations[static_cast<size_t>(at) + 1];
      turn = {at, 2, std::min(first.begin_ns, second.begin_ns), std::max(first.end_ns, second.end_ns)};
    }
    turns.push_back(turn);
    at += turn.count;
  }
  return turns;
}

std::vector<Pause> pauses_of(const TracedList& list, int own_process) {
  std::vector<Pause> pauses;
  int64_t free = list.begin_ns;
  const auto pause = [&](Pause::For reason, int64_t until, int operation) {
    if (until <= free) return;
    pauses.push_back({reason, free, until, operation});
    free = until;
  };
  for (const PlayedTurn& turn : turns_of(list)) {
    int last = turn.first;
    for (int at = turn.first; at < turn.first + turn.count; ++at) {
      const auto ready = [&](int i) { return list.operations[static_cast<size_t>(i)].ready_ns; };
      if (ready(at) > ready(last)) last = at;
    }
    const TracedOperation& waited = list.operations[static_cast<size_t>(last)];
    if (waited.from_process >= 0) {
      pause(waited.from_process == own_process ? Pause::For::same_process : Pause::For::other_process,
            std::min(waited.ready_ns, turn.begin_ns), last);
    }
    pause(Pause::For::nothing, turn.begin_ns, -1);
    free = std::max(free, turn.end_ns);
  }
  pause(Pause::For::nothing, list.end_ns, -1);
  return pauses;
}

config::Objection objection_to(const TracedList& list) {
  if (list.end_ns < list.begin_ns) return {"a list that ends before it begins", "one that ends behind that"};
  for (size_t i = 0; i < list.operations.size(); ++i) {
    const TracedOperation& each = list.operations[i];
    const std::string name = "operation " + std::to_string(i);
    if (each.begin_ns < list.begin_ns || each.end_ns > list.end_ns || each.end_ns < each.begin_ns) {
      return {name + " outside its list, or that ends before it begins", "times in the order of what happened"};
    }
    const bool is_last = i + 1 == list.operations.size();
    if (each.operation.is_beside_next && (is_last || list.operations[i + 1].operation.is_beside_next)) {
      return {name + " beside one that is not there, or a third", "two side by side"};
    }
  }
  int64_t free = list.begin_ns;
  for (const PlayedTurn& turn : turns_of(list)) {
    if (turn.begin_ns < free) {
      return {"operation " + std::to_string(turn.first) + " that begins before the one before it has ended",
              "one behind the other"};
    }
    free = turn.end_ns;
  }
  return {};
}

}  // namespace troupe::runtime
