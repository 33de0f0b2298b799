#include "runtime/cluster/members.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace troupe::runtime {

Members::Members(std::vector<Member> nodes)
    : nodes_(std::move(nodes)), is_lost_(nodes_.size(), false), wake_(::eventfd(0, EFD_CLOEXEC)) {
  if (wake_ < 0) throw ClusterError("cannot make an event descriptor");
  for (int p = 1; p <= count(); ++p) node(p).socket.set_peer(describe(p));
}

Members::~Members() {
  stop_watching();
  ::close(wake_);
}

std::string Members::describe(int process) const {
  const wire::NodeFacts& facts = node(process).facts;
  return "process " + std::to_string(process) + " (" + facts.host() + ", pid " +
         std::to_string(facts.pid()) + ")";
}

void Members::start(int process, const Secret& secret, const wire::NodeStart& start) {
  start_node(node(process), secret, start);
}

void Members::wait_until_ready(Deadline deadline) {
  for (int p = 1; p <= count(); ++p) {
    while (true) {
      wire::JoinFrame frame = node(p).socket.receive(deadline);
      if (frame.has_ready()) break;
      if (frame.has_lost()) {
        throw ClusterError(describe(p) + " cannot begin: " + frame.lost().text());
      }
      if (frame.has_event()) early_.emplace_back(p, std::move(*frame.mutable_event()));
    }
  }
}

void Members::watch(Events events) {
  events_ = std::move(events);
  for (const auto& [process, event] : std::exchange(early_, {})) {
    if (events_.happened) events_.happened(process, event);
  }
  thread_ = std::thread([this] { watch_loop(); });
}

void Members::watch_loop() {
  while (true) {
    std::vector<pollfd> files{{wake_, POLLIN, 0}};
    std::vector<int> processes{0};
    for (int p = 1; p <= count(); ++p) {
      if (is_lost_[static_cast<size_t>(p - 1)]) continue;
      files.push_back({node(p).socket.file(), POLLIN, 0});
      processes.push_back(p);
    }
    if (::poll(files.data(), files.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (files[0].revents != 0) return;
    for (size_t i = 1; i < files.size(); ++i) {
      if (files[i].revents != 0 && !hear(processes[i])) {
        is_lost_[static_cast<size_t>(processes[i] - 1)] = true;
      }
    }
  }
}

bool Members::hear(int process) {
  try {
    const wire::JoinFrame frame = node(process).socket.receive(within(std::chrono::seconds(10)));
    if (frame.has_event()) {
      if (events_.happened) events_.happened(process, frame.event());
      return true;
    }
    if (!frame.has_lost()) return true;
    if (events_.lost) events_.lost(process, describe(process) + ": " + frame.lost().text());
  } catch (const ClusterError& error) {
    if (events_.lost) events_.lost(process, error.what());
  }
  return false;
}

void Members::stop_watching() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  static_cast<void>(!::write(wake_, &one, sizeof one));
  thread_.join();
}

void Members::finish(const std::string& why, Deadline deadline) {
  stop_watching();
  wire::JoinFrame frame;
  frame.mutable_finish()->set_text(why);
  std::vector<int> told;
  for (int p = 1; p <= count(); ++p) {
    if (is_lost_[static_cast<size_t>(p - 1)]) continue;
    try {
      node(p).socket.send(frame);
      told.push_back(p);
    } catch (const ClusterError&) {
      // it has gone before it was told
    }
  }
  for (const int p : told) {
    try {
      while (true) node(p).socket.receive(deadline);
    } catch (const ClusterError&) {
      // it has closed its end, as it should, or is late
    }
    is_lost_[static_cast<size_t>(p - 1)] = true;
  }
}

}  // namespace troupe::runtime
