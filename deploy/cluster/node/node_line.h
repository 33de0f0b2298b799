// What a node's threads share: the line to its leader, and the company that parcels of others are for.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "actors/company.h"
#include "actors/placement/mover.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/join/frame_socket.h"

namespace troupe::deploy {

/// What a node tells its leader, from any thread.
class Line {
 public:
  using SocketPtr = std::shared_ptr<runtime::FrameSocket>;
  explicit Line(SocketPtr socket) : socket_(std::move(socket)) {}

  SocketPtr socket() const {
    std::lock_guard lock(mutex_);
    return socket_;
  }
  /// Another leads.
  void set_socket(SocketPtr socket) {
    std::lock_guard lock(mutex_);
    socket_ = std::move(socket);
  }
  /// Another may lead, who says so on this: nothing is told there before. Null: none.
  void set_joining(SocketPtr socket) {
    std::lock_guard lock(mutex_);
    joining_ = std::move(socket);
  }
  /// Who waits for a word on either waits no more.
  void hear_no_more() const {
    std::lock_guard lock(mutex_);
    for (const SocketPtr& socket : {socket_, joining_}) {
      if (socket) ::shutdown(socket->file(), SHUT_RD);
    }
  }

  void happened(const wire::Event& event) {
    wire::JoinFrame frame;
    *frame.mutable_event() = event;
    send(frame);
  }
  void ready() {
    wire::JoinFrame frame;
    frame.mutable_ready();
    send(frame);
  }
  void moved() {
    wire::JoinFrame frame;
    frame.mutable_moved();
    send(frame);
  }
  void connected(const wire::Peer& peer) {
    wire::JoinFrame frame;
    frame.mutable_connected()->set_process(peer.process());
    frame.mutable_connected()->set_life(peer.life());
    send(frame);
  }
  void unreachable(int process, uint32_t life, const std::string& why) {
    wire::JoinFrame frame;
    frame.mutable_unreachable()->set_process(process);
    frame.mutable_unreachable()->set_life(life);
    frame.mutable_unreachable()->set_text(why);
    send(frame);
  }
  /// Only the first reason counts.
  void lost(const std::string& why) {
    wire::JoinFrame frame;
    frame.mutable_lost()->set_text(why);
    send(frame);
  }

 private:
  /// Who does not hear it any more has gone, which this process hears by itself.
  void send(const wire::JoinFrame& frame) {
    try {
      socket()->send(frame);
    } catch (const runtime::ClusterError&) {
    }
  }

  mutable std::mutex mutex_;
  SocketPtr socket_, joining_;
};

/// While it lives, a signal ends what is heard on this too.
class Joining {
 public:
  Joining(Line& line, Line::SocketPtr socket) : line_(line) { line.set_joining(std::move(socket)); }
  ~Joining() { line_.set_joining(nullptr); }
  Joining(const Joining&) = delete;
  Joining& operator=(const Joining&) = delete;

 private:
  Line& line_;
};

/// The company of this process, as the parcels of others find it once it is there.
struct Door {
  std::mutex mutex;
  std::shared_ptr<actors::Company> company;
  std::shared_ptr<actors::Mover> mover;  ///< parcels are its while there is one
  std::vector<uint32_t> lives;  ///< by process: which of those that had its number is known here
  std::vector<std::string> addresses;  ///< by process: where the plane reaches it. Of one thread

  uint32_t life(int process) {
    std::lock_guard lock(mutex);
    const auto at = static_cast<size_t>(process);
    return at < lives.size() ? lives[at] : 0;
  }
  void set_lives(std::vector<uint32_t> all) {
    std::lock_guard lock(mutex);
    lives = std::move(all);
  }
  void set_life(int process, uint32_t life) {
    std::lock_guard lock(mutex);
    lives.at(static_cast<size_t>(process)) = life;
  }

  std::shared_ptr<actors::Company> get() {
    std::lock_guard lock(mutex);
    return company;
  }
  void set(std::shared_ptr<actors::Company> value) {
    std::lock_guard lock(mutex);
    company = std::move(value);
  }
  std::shared_ptr<actors::Mover> get_mover() {
    std::lock_guard lock(mutex);
    return mover;
  }
  void set_mover(std::shared_ptr<actors::Mover> value) {
    std::lock_guard lock(mutex);
    mover = std::move(value);
  }
};

}  // namespace troupe::deploy
