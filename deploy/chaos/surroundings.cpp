#include "deploy/chaos/surroundings.h"

#include <optional>

#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

using Clock = std::chrono::steady_clock;

/// Between two looks at the events.
constexpr std::chrono::milliseconds look_time{2};

}  // namespace

Surroundings::Surroundings(std::filesystem::path events,
                           std::function<Deed(const actors::Failpoint&)> deed_of)
    : events_(std::move(events)), deed_of_(std::move(deed_of)), thread_([this] { follow(); }) {}

Surroundings::~Surroundings() { finish(); }

std::vector<std::string> Surroundings::finish() {
  {
    std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  if (thread_.joinable()) thread_.join();
  std::lock_guard lock(mutex_);
  return done_;
}

std::vector<std::string> Surroundings::failed() const {
  std::lock_guard lock(mutex_);
  return failed_;
}

void Surroundings::follow() {
  std::optional<runtime::EventFollower> follower;
  for (bool is_last = false; !is_last;) {
    {
      std::lock_guard lock(mutex_);
      is_last = is_over_;
    }
    try {
      if (!follower && std::filesystem::exists(events_)) follower.emplace(events_);
      if (follower) {
        for (const wire::Event& event : follower->read()) {
          if (event.kind() == wire::Event::FAILPOINT) begin(event.text());
        }
      }
    } catch (const runtime::EventLogError& error) {
      std::lock_guard lock(mutex_);
      failed_.push_back(error.what());
      is_over_ = true;
    }
    go_on(is_last);
    if (!is_last) std::this_thread::sleep_for(look_time);
  }
}

void Surroundings::begin(const std::string& witness) {
  const actors::Failpoint failpoint = actors::failpoint_of(witness);
  if (!is_of_surroundings(failpoint.fault)) return;
  under_way_.push_back({failpoint, deed_of_(failpoint), Clock::now() + failpoint.delay, ""});
  attempt(under_way_.back(), under_way_.back().deed.strike);
}

void Surroundings::attempt(UnderWay& one, const std::function<void()>& what) {
  try {
    what();
  } catch (const std::exception& error) {
    one.error = error.what();
  }
}

void Surroundings::go_on(bool is_last) {
  std::vector<UnderWay> longer;
  for (UnderWay& one : under_way_) {
    const bool is_done = is_last || Clock::now() >= one.until;
    attempt(one, is_done ? one.deed.relieve : one.deed.strike);
    if (!is_done) {
      longer.push_back(std::move(one));
      continue;
    }
    const std::string name = to_string(one.failpoint);
    std::lock_guard lock(mutex_);
    if (one.error.empty()) {
      done_.push_back(name);
    } else {
      failed_.push_back(name + ": " + one.error);
    }
  }
  under_way_ = std::move(longer);
}

}  // namespace troupe::deploy
