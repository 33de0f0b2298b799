#include "runtime/cluster/join/members.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace troupe::runtime {

Members::Members(std::vector<Member> nodes) : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_ < 0) throw ClusterError("cannot make an event descriptor");
  for (Member& member : nodes) {
    const int process = static_cast<int>(nodes_.size()) + 1;
    member.socket.set_peer(describe(process, member.facts));
    facts_.push_back(member.facts);
    nodes_.push_back(std::make_shared<Member>(std::move(member)));
  }
}

Members::~Members() {
  stop_watching();
  ::close(wake_);
}

Members::MemberPtr Members::node(int process) const {
  std::lock_guard lock(mutex_);
  return nodes_[static_cast<size_t>(process - 1)];
}

wire::NodeFacts Members::facts(int process) const {
  std::lock_guard lock(mutex_);
  return facts_[static_cast<size_t>(process - 1)];
}

std::string Members::describe(int process) const { return describe(process, facts(process)); }

std::string Members::describe(int process, const wire::NodeFacts& facts) {
  return "process " + std::to_string(process) + " (" + facts.host() + ", pid " +
         std::to_string(facts.pid()) + ")";
}

void Members::start(int process, const Secret& secret, const wire::NodeStart& start) {
  start_node(*node(process), secret, start);
}

void Members::wait_until_ready(Deadline deadline) {
  for (int p = 1; p <= count(); ++p) {
    for (wire::Event& event : wait_for_ready(*node(p), deadline)) {
      early_.emplace_back(p, std::move(event));
    }
  }
}

void Members::wait_until_moved(Deadline deadline) {
  for (int p = 1; p <= count(); ++p) {
    const MemberPtr member = node(p);
    if (!member) throw ClusterError(describe(p) + " is gone");
    wait_for_moved(*member, deadline);
  }
}

void Members::cut(int process) {
  if (const MemberPtr member = node(process)) ::shutdown(member->socket.file(), SHUT_RDWR);
}

void Members::watch(Events events) {
  events_ = std::move(events);
  for (const auto& [process, event] : std::exchange(early_, {})) {
    if (events_.happened) events_.happened(process, event);
  }
  thread_ = std::thread([this] { watch_loop(); });
}

void Members::watch_loop() {
  while (!is_over_) {
    std::vector<pollfd> files{{wake_, POLLIN, 0}};
    std::vector<std::pair<int, MemberPtr>> watched{{0, nullptr}};
    for (int p = 1; p <= count(); ++p) {
      if (MemberPtr member = node(p)) {
        files.push_back({member->socket.file(), POLLIN, 0});
        watched.emplace_back(p, std::move(member));
      }
    }
    if (::poll(files.data(), files.size(), -1) < 0 && errno != EINTR) return;
    uint64_t woken = 0;
    if (files[0].revents != 0) static_cast<void>(!::read(wake_, &woken, sizeof woken));
    for (size_t i = 1; i < files.size() && !is_over_; ++i) {
      const auto& [process, member] = watched[i];
      if (files[i].revents == 0 || node(process) != member) continue;
      if (!hear(process, *member)) lose(process, member);
    }
  }
}

bool Members::hear(int process, Member& member) {
  try {
    const wire::JoinFrame frame = member.socket.receive(within(std::chrono::seconds(10)));
    if (frame.has_event() && events_.happened) events_.happened(process, frame.event());
    if (frame.has_connected() && events_.connected) events_.connected(process, frame.connected());
    if (frame.has_unreachable() && events_.unreachable) {
      events_.unreachable(process, frame.unreachable());
    }
    if (!frame.has_lost()) return true;
    if (events_.lost) events_.lost(process, describe(process) + ": " + frame.lost().text());
  } catch (const ClusterError& error) {
    if (events_.lost) events_.lost(process, error.what());
  }
  return false;
}

/// Unless another stands in its place already.
void Members::lose(int process, const MemberPtr& member) {
  std::lock_guard lock(mutex_);
  MemberPtr& place = nodes_[static_cast<size_t>(process - 1)];
  if (place == member) place = nullptr;
}

void Members::tell(const wire::JoinFrame& frame) {
  for (int p = 1; p <= count(); ++p) {
    try {
      if (const MemberPtr member = node(p)) member->socket.send(frame);
    } catch (const ClusterError&) {
      // it has gone, which the watching thread will hear
    }
  }
}

void Members::drop(int process) {
  {
    std::lock_guard lock(mutex_);
    nodes_[static_cast<size_t>(process - 1)] = nullptr;
  }
  wake();
}

void Members::replace(int process, Member node) {
  node.socket.set_peer(describe(process, node.facts));
  {
    std::lock_guard lock(mutex_);
    facts_[static_cast<size_t>(process - 1)] = node.facts;
    nodes_[static_cast<size_t>(process - 1)] = std::make_shared<Member>(std::move(node));
  }
  wake();
}

void Members::wake() {
  const uint64_t one = 1;
  static_cast<void>(!::write(wake_, &one, sizeof one));
}

void Members::stop_watching() {
  is_over_ = true;
  if (!thread_.joinable()) return;
  wake();
  thread_.join();
}

void Members::finish(const std::string& why, Deadline deadline) {
  stop_watching();
  wire::JoinFrame frame;
  frame.mutable_finish()->set_text(why);
  tell(frame);
  wait_until_gone(deadline);
}

void Members::part(const std::string& why) {
  stop_watching();
  wire::JoinFrame frame;
  frame.mutable_later()->set_text(why);
  tell(frame);
}

void Members::abandon() {
  stop_watching();
  for (int p = 1; p <= count(); ++p) drop(p);
}

void Members::wait_until_gone(Deadline deadline) {
  for (int p = 1; p <= count(); ++p) {
    const MemberPtr member = node(p);
    if (!member) continue;
    try {
      while (true) member->socket.receive(deadline);
    } catch (const ClusterError&) {
      // it has closed its end, as it should, or is late
    }
    drop(p);
  }
}

}  // namespace troupe::runtime
