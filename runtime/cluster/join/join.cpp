#include "runtime/cluster/join/join.h"

#include <xxhash.h>

#include <cstdio>
#include <memory>
#include <vector>

namespace troupe::runtime {
namespace {

constexpr const char* node_speaks = "troupe node";
constexpr const char* leader_speaks = "troupe leader";
constexpr const char* other_secret =
    "the cluster secret differs (TROUPE_SECRET, or the file of --secret)";

std::string differs(const char* what, const std::string& found, const std::string& wanted) {
  return std::string("found ") + what + " " + found + ", wanted " + wanted;
}

/// Why a node is not to be one of the run; empty: it may be.
std::string objection(const wire::NodeFacts& node, const wire::NodeFacts& own) {
  if (node.arithmetic() != own.arithmetic()) {
    return differs("arithmetic", node.arithmetic(), own.arithmetic());
  }
  if (node.build() != own.build()) {
    return differs("build", node.build(), own.build()) + ": both have to run the same program file";
  }
  if (node.has_tls() != own.has_tls()) {
    const auto word = [](bool has_tls) { return has_tls ? "with TLS" : "without TLS"; };
    return differs("a node", word(node.has_tls()), word(own.has_tls())) +
           " as the run's other processes (--tls-certificate)";
  }
  return {};
}

}  // namespace

void refuse(FrameSocket& socket, const std::string& why) {
  wire::JoinFrame frame;
  frame.mutable_refusal()->set_text(why);
  try {
    socket.send(frame);
  } catch (const ClusterError&) {
    // it has gone already
  }
  throw ClusterError(socket.peer() + " was refused: " + why);
}

std::string challenge(FrameSocket& socket) {
  std::string nonce = random_nonce();
  wire::JoinFrame frame;
  frame.mutable_challenge()->set_protocol(join_protocol);
  frame.mutable_challenge()->set_nonce(nonce);
  socket.send(frame);
  return nonce;
}

Member admit(FrameSocket socket, const Secret& secret, const wire::NodeFacts& own,
             Deadline deadline) {
  const std::string nonce = challenge(socket);
  return admit(std::move(socket), nonce, secret, own, deadline);
}

Member admit(FrameSocket socket, const std::string& nonce, const Secret& secret,
             const wire::NodeFacts& own, Deadline deadline) {
  const wire::JoinFrame frame = socket.receive(deadline);
  if (!frame.has_hello()) refuse(socket, "found no hello, wanted one first");
  const wire::Hello& hello = frame.hello();
  if (hello.protocol() != join_protocol) {
    refuse(socket, differs("join protocol", std::to_string(hello.protocol()),
                           std::to_string(join_protocol)));
  }
  if (!secret.is_proof(hello.proof(), node_speaks, nonce, hello.facts())) {
    refuse(socket, other_secret);
  }
  wire::NodeFacts facts;
  if (!facts.ParseFromString(hello.facts())) refuse(socket, "found facts that cannot be read");
  if (const std::string why = objection(facts, own); !why.empty()) refuse(socket, why);
  socket.set_limit(FrameSocket::member_limit);
  return {std::move(socket), std::move(facts), hello.nonce()};
}

void put_off(FrameSocket& socket, const std::string& why) {
  wire::JoinFrame frame;
  frame.mutable_later()->set_text(why);
  socket.send(frame);
}

void start_node(Member& member, const Secret& secret, const wire::NodeStart& start) {
  wire::JoinFrame frame;
  frame.mutable_start()->set_start(start.SerializeAsString());
  frame.mutable_start()->set_proof(
      secret.prove(leader_speaks, member.nonce, frame.start().start()));
  member.socket.send(frame);
}

std::vector<wire::Event> wait_for_ready(Member& member, Deadline deadline) {
  std::vector<wire::Event> events;
  while (true) {
    wire::JoinFrame frame = member.socket.receive(deadline);
    if (frame.has_ready()) return events;
    if (frame.has_lost()) {
      throw ClusterError(member.socket.peer() + " cannot begin: " + frame.lost().text());
    }
    if (frame.has_event()) events.push_back(std::move(*frame.mutable_event()));
  }
}

void wait_for_moved(Member& member, Deadline deadline) {
  while (true) {
    const wire::JoinFrame frame = member.socket.receive(deadline);
    if (frame.has_moved()) return;
    if (frame.has_lost()) {
      throw ClusterError(member.socket.peer() + " cannot go on: " + frame.lost().text());
    }
    if (frame.has_unreachable()) {
      throw ClusterError(member.socket.peer() + " does not reach process " +
                         std::to_string(frame.unreachable().process()) + ": " + frame.unreachable().text());
    }
  }
}

wire::NodeStart join(FrameSocket& socket, const Secret& secret, const wire::NodeFacts& own,
                     Deadline hello_deadline) {
  wire::JoinFrame frame = socket.receive(hello_deadline);
  if (!frame.has_challenge() || frame.challenge().protocol() != join_protocol) {
    throw ClusterError(socket.peer() + ": " +
                       differs("join protocol",
                               frame.has_challenge() ? std::to_string(frame.challenge().protocol())
                                                     : "none",
                               std::to_string(join_protocol)));
  }
  const std::string nonce = random_nonce();
  wire::JoinFrame answer;
  wire::Hello& hello = *answer.mutable_hello();
  hello.set_protocol(join_protocol);
  hello.set_nonce(nonce);
  hello.set_facts(own.SerializeAsString());
  hello.set_proof(secret.prove(node_speaks, frame.challenge().nonce(), hello.facts()));
  socket.send(answer);
  socket.set_limit(FrameSocket::member_limit);
  while (!socket.wait(within(std::chrono::hours(1)))) {
  }
  frame = socket.receive(within(std::chrono::seconds(30)));
  if (frame.has_refusal()) {
    throw Refused(socket.peer() + " has refused this node: " + frame.refusal().text());
  }
  if (frame.has_later()) throw ComeAgain(socket.peer() + ": " + frame.later().text());
  if (frame.has_finish()) throw ClusterError("the run ended: " + frame.finish().text());
  wire::NodeStart start;
  if (!frame.has_start() ||
      !secret.is_proof(frame.start().proof(), leader_speaks, nonce, frame.start().start())) {
    throw ClusterError(socket.peer() + " is not believed: " + other_secret);
  }
  if (!start.ParseFromString(frame.start().start())) {
    throw ClusterError(socket.peer() + ": found a start that cannot be read");
  }
  return start;
}

std::string build_id() {
  static const std::string id = [] {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        std::fopen("/proc/self/exe", "rb"), std::fclose);
    if (!file) throw ClusterError("cannot read this program's file, /proc/self/exe");
    const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(
        XXH3_createState(), XXH3_freeState);
    XXH3_64bits_reset(state.get());
    std::vector<char> part(1 << 20);
    while (const size_t n = std::fread(part.data(), 1, part.size(), file.get())) {
      XXH3_64bits_update(state.get(), part.data(), n);
    }
    const uint64_t hash = XXH3_64bits_digest(state.get());
    char text[17];
    std::snprintf(text, sizeof text, "%016lx", static_cast<unsigned long>(hash));
    return std::string(text);
  }();
  return id;
}

}  // namespace troupe::runtime
