#include "deploy/cluster/node/leader_search.h"

#include <sys/socket.h>

#include <csignal>

#include "runtime/cluster/cluster_error.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::ClusterError;

/// How often a node looks while it follows somebody, and while it looks for whom to follow.
constexpr auto watch_interval = 250ms, search_interval = 50ms;
/// For one that leads to take a connection: its host may be gone.
constexpr auto reach_time = 500ms;

}  // namespace

LeaderSearch::LeaderSearch(const runtime::LeasePlace& place)
    : place_(place), rules_(place.rules()), client_(place.client()) {
  sigset_t all, before;  // signals are for other threads
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  thread_ = std::thread([this] { loop(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LeaderSearch::~LeaderSearch() {
  {
    std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

LeaderSearch::Found LeaderSearch::find(runtime::Deadline deadline,
                                       const std::atomic<bool>& is_stopped) {
  std::string why;
  do {
    try {
      const runtime::LeaseView view = rules_.view_of(client_.run(rules_.look()));
      if (view.end && has_found()) throw RunHasEnded(*view.end);
      why = view.end ? RunHasEnded(*view.end).what()
                     : "nobody leads the run " + place_.name + " by " + place_.describe();
      if (view.leader() && !view.end) {
        const runtime::Endpoint at = runtime::parse_endpoint(view.leader()->address());
        auto socket = std::make_shared<runtime::FrameSocket>(
            runtime::FrameSocket::connect(at, runtime::within(reach_time)));
        watch(socket, at, view.leader()->term());
        return {std::move(socket), at, view.leader()->term()};
      }
    } catch (const RunHasEnded&) {
      throw;
    } catch (const ClusterError& error) {
      why = error.what();
    }
    std::this_thread::sleep_for(search_interval);
  } while (!is_stopped && std::chrono::steady_clock::now() < deadline);
  throw ClusterError(why);
}

void LeaderSearch::watch(const SocketPtr& to, const runtime::Endpoint& at, uint64_t term) {
  std::lock_guard lock(mutex_);
  watched_ = to;
  address_ = to_string(at);
  term_ = term;
  verdict_.clear();
}

bool LeaderSearch::has_found() const {
  std::lock_guard lock(mutex_);
  return term_ > 0;
}

std::string LeaderSearch::verdict() const {
  std::lock_guard lock(mutex_);
  return verdict_;
}

uint64_t LeaderSearch::looks() const {
  std::lock_guard lock(mutex_);
  return looks_;
}

void LeaderSearch::loop() {
  runtime::EtcdClient client = place_.client();
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, watch_interval, [this] { return is_over_; })) {
    if (!watched_) continue;
    lock.unlock();
    runtime::LeaseView view;
    try {
      view = rules_.view_of(client.run(rules_.look()));
    } catch (const ClusterError&) {
      // tried again; whoever leads is still there, or is missed in another way
    }
    lock.lock();
    const wire::LeaseHolder* const leader = view.leader();
    if (leader) ++looks_;
    if (!watched_ || !leader || leader->term() <= term_) continue;
    if (leader->address() == address_) continue;  // whoever follows there takes the same connections
    verdict_ = leader->host() + " leads the run in term " + std::to_string(leader->term());
    ::shutdown(watched_->file(), SHUT_RD);
    watched_.reset();
  }
}

}  // namespace troupe::deploy
