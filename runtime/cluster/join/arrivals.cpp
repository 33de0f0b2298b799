#include "runtime/cluster/join/arrivals.h"

#include <poll.h>

#include <algorithm>
#include <vector>

namespace troupe::runtime {
namespace {

using Clock = std::chrono::steady_clock;

/// How often half of a frame is looked at again: that more of it has come shows in no poll.
constexpr std::chrono::milliseconds look_time{10};

}  // namespace

/// Takes everybody who has connected.
void Arrivals::greet_all() {
  while (auto socket = listener_.accept(Clock::now())) {
    try {
      std::string nonce = challenge(*socket);
      strangers_.push_back({std::move(*socket), std::move(nonce), within(patience_)});
    } catch (const ClusterError&) {
      // it has gone
    }
    if (strangers_.size() > most) strangers_.pop_front();
  }
}

std::optional<Member> Arrivals::next(const wire::NodeFacts& own, Deadline deadline) {
  while (true) {
    greet_all();
    for (auto one = strangers_.begin(); one != strangers_.end(); ++one) {
      const bool speaks = one->socket.has_frame();
      if (!speaks && Clock::now() <= one->deadline) continue;
      Stranger stranger = std::move(*one);
      strangers_.erase(one);
      if (!speaks) {
        throw ClusterError(stranger.socket.peer() + " has not said within " +
                           std::to_string(patience_.count()) + " ms who it is");
      }
      return admit(std::move(stranger.socket), stranger.nonce, secret_, own, Clock::now());
    }
    if (Clock::now() >= deadline) return std::nullopt;
    wait(deadline);
  }
}

bool Arrivals::has_news() const {
  pollfd comes{listener_.file(), POLLIN, 0};
  return ::poll(&comes, 1, 0) > 0 ||
         std::any_of(strangers_.begin(), strangers_.end(), [](const Stranger& one) {
           return one.socket.has_frame() || Clock::now() > one.deadline;
         });
}

void Arrivals::wait(Deadline deadline) const {
  std::vector<pollfd> files{{listener_.file(), POLLIN, 0}};
  for (const Stranger& one : strangers_) {
    deadline = std::min(deadline, one.deadline);
    if (one.socket.wait(Clock::now())) {
      deadline = std::min(deadline, within(look_time));
    } else {
      files.push_back({one.socket.file(), POLLIN, 0});
    }
  }
  const auto time = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  ::poll(files.data(), files.size(), static_cast<int>(std::max<int64_t>(time.count(), 0)));
}

}  // namespace troupe::runtime
