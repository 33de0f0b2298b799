// Which lane a thread of a pool works on next.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>

namespace troupe::kernels {

/// Lanes whose front operation has parts that nobody has taken, in the order in which they came, by urgency. Not
/// thread-safe. `Lane` says whether a thread has taken a part of its front operation: `bool is_begun() const`.
template <class Lane>
class ReadyLanes {
 public:
  /// All of the first of these go before the next.
  enum Urgency : size_t { callbacks_that_tell_others, lanes_that_go_first, usual };

  /// Where a thread has been.
  struct Thread {
    const Lane* lane = nullptr;  ///< only compared: it may be gone
    int turns = 0;               ///< parts in a row of it
  };
  /// After so many a thread looks for another lane: none waits for ever.
  static constexpr int most_turns = 256;

  bool empty() const { return size() == 0; }
  size_t size() const { return lanes_[0].size() + lanes_[1].size() + lanes_[2].size(); }

  void add(Lane& lane, Urgency urgency) { lanes_[urgency].push_back(&lane); }

  /// What the thread takes a part of: of what is urgent the first, so that whoever waits for it longest waits no
  /// longer. Else of its own lane, for what it has written there is in its cache; else of one where no thread is;
  /// else of the first. Must not be empty.
  Lane& choose(Thread& thread) const {
    const auto lanes = std::find_if(lanes_.begin(), lanes_.end(), [](const auto& some) { return !some.empty(); });
    Lane* const chosen = lanes == lanes_.begin() + usual ? choose_of(*lanes, thread) : lanes->front();
    thread.turns = chosen == thread.lane ? thread.turns + 1 : 1;
    thread.lane = chosen;
    return *chosen;
  }

  /// All parts of its front operation are taken.
  void remove(const Lane& lane) {
    for (auto& lanes : lanes_) {
      const auto at = std::find(lanes.begin(), lanes.end(), &lane);
      if (at == lanes.end()) continue;
      lanes.erase(at);
      return;
    }
  }

 private:
  static Lane* choose_of(const std::deque<Lane*>& lanes, const Thread& thread) {
    const bool may_stay = thread.turns < most_turns;
    const auto own = std::find(lanes.begin(), lanes.end(), thread.lane);
    if (may_stay && own != lanes.end()) return *own;
    const auto fresh = std::find_if(lanes.begin(), lanes.end(), [&](const Lane* lane) {
      return !lane->is_begun() && (may_stay || lane != thread.lane);
    });
    return fresh == lanes.end() ? lanes.front() : *fresh;
  }

  std::array<std::deque<Lane*>, 3> lanes_;
};

}  // namespace troupe::kernels
