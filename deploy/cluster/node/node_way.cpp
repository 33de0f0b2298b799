#include "deploy/cluster/node/node_way.h"

#include <optional>
#include <utility>

#include "deploy/cluster/lead/gathering.h"
#include "deploy/cluster/lead/leased_run.h"
#include "deploy/cluster/secret_option.h"

namespace troupe::deploy {

using runtime::ClusterError;
using runtime::within;

namespace {

/// http://HOST:PORT/NAME: where etcd is, and the name of a run's lease; none: it is another address.
std::optional<runtime::LeasePlace> lease_of(const std::string& join) {
  const std::string scheme = "http://";
  if (!join.starts_with(scheme)) return std::nullopt;
  const size_t slash = join.find('/', scheme.size());
  if (slash == std::string::npos || slash + 1 == join.size()) {
    throw ClusterError("--join " + join + ": wanted http://HOST:PORT/NAME, where etcd is and the name of the "
                       "run's lease");
  }
  const std::string at = join.substr(scheme.size(), slash - scheme.size());
  return runtime::LeasePlace{{runtime::parse_endpoint(at)}, join.substr(slash + 1), 0};
}

}  // namespace

Way way_of(const NodeOptions& options) {
  const auto lease = lease_of(options.join);
  const runtime::Endpoint leader = lease ? runtime::Endpoint() : runtime::parse_endpoint(options.join);
  if (!lease) check_network(leader.host, options.is_insecure, "--join " + options.join);
  const auto secret = cluster_secret(options.secret);
  if (!secret) {
    throw ClusterError("found no cluster secret, wanted that of the run in TROUPE_SECRET or a file "
                       "(--secret)");
  }
  return {.leader = leader,
          .secret = *secret,
          .facts = own_facts(options.tls.is_set()),
          .name = "the run at " + options.join,
          .wait = std::chrono::seconds(options.wait),
          .is_insecure = options.is_insecure,
          .search = lease ? std::make_unique<LeaderSearch>(*lease) : nullptr};
}

std::shared_ptr<runtime::FrameSocket> reach(Way& way, std::chrono::milliseconds time) {
  std::shared_ptr<runtime::FrameSocket> socket;
  if (way.search) {
    const auto found = way.search->find(within(way.wait), *way.is_stopped);
    check_network(found.at.host, way.is_insecure, "the leader's address " + to_string(found.at));
    way.leader = found.at;
    way.name = "the run at " + to_string(found.at);
    socket = found.socket;
  } else {
    socket = std::make_shared<runtime::FrameSocket>(
        runtime::FrameSocket::connect(way.leader, within(time)));
  }
  socket->set_peer(way.name);
  return socket;
}

void expect_to_go_on(const Way& way) {
  if (*way.is_stopped) throw ClusterError(way.name + " was about to take in this node, which is to stop");
}

void go_to(Way& way, Line& line, std::chrono::milliseconds time) {
  line.set_socket(reach(way, time));
  expect_to_go_on(way);
}

wire::NodeStart join_whoever_leads(Way& way, Line& line, std::chrono::milliseconds hello_time) {
  const auto deadline = within(way.wait);
  while (true) {
    try {
      return runtime::join(*line.socket(), way.secret, way.facts, within(hello_time));
    } catch (const runtime::ComeAgain&) {
      throw;
    } catch (const runtime::Refused&) {
      throw;
    } catch (const ClusterError&) {
      if (!way.search || *way.is_stopped || std::chrono::steady_clock::now() > deadline) throw;
    }
    go_to(way, line, hello_time);
  }
}

void search_by(Way& way, const wire::NodeStart& start,
               const std::shared_ptr<runtime::FrameSocket>& socket) {
  if (!start.run().cluster().has_lease()) return;
  if (!std::exchange(way.is_search_the_runs, true)) {
    way.search = std::make_unique<LeaderSearch>(lease_place(start.run().cluster().lease()));
  }
  way.search->watch(socket, way.leader, start.term());
}

}  // namespace troupe::deploy
