// Which lane a thread of a pool works on next.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>

namespace troupe::kernels {

/// Lanes whose front operation has parts that nobody has taken, in the order in which they came, by urgency. Not
/// thread-safe. `Lane` says whether a thread is at a part of its front operation: `bool has_thread() const`.
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
  /// After so many a thread goes where one has waited longest: none waits for ever.
  static constexpr int most_turns = 256;

  bool empty() const { return size() == 0; }
  size_t size() const { return lanes_[0].size() + lanes_[1].size() + lanes_[2].size(); }

  void add(Lane& lane, Urgency urgency) { lanes_[urgency].push_back(&lane); }

  /// What the thread takes a part of: of what is urgent the first, so that whoever waits for it longest waits no
  /// longer. Else of its own lane, for what it has written there is in its cache; else of one where no thread is;
  /// else of the first. Must not be empty.
  Lane& choose(Thread& thread) const {
    const auto lanes = std::find_if(lanes_.begin(), lanes_.end(), [](const auto& some) { return !some.empty(); });
    if (lanes != lanes_.begin() + usual) return *lanes->front();  // and back where it was
    Lane* const chosen = choose_of(*lanes, thread);
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
    if (thread.turns >= most_turns) return lanes[lanes.front() == thread.lane && lanes.size() > 1 ? 1 : 0];
    const auto own = std::find(lanes.begin(), lanes.end(), thread.lane);
    if (own != lanes.end()) return *own;
    const auto free = std::find_if(lanes.begin(), lanes.end(), [](const Lane* lane) { return !lane->has_thread(); });
    return free == lanes.end() ? lanes.front() : *free;
  }

  std::array<std::deque<Lane*>, 3> lanes_;
};

}  // namespace troupe::kernels
