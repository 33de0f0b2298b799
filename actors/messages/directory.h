// Where actors find each other, and what may wait in their mailboxes.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "actors/interfaces.h"
#include "actors/messages/role.h"
#include "runtime/telemetry/cells.h"

namespace troupe::actors {

/// Token messages that may wait in one mailbox (supervision law), and beside it. One step fills
/// neither: a stage waits for each answer. They bound what a fault can pile up.
constexpr size_t mailbox_credit = 256;
constexpr size_t most_parked = 4096;

class OverloadError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The way into one life's mailbox. Token messages beyond its credit are held back, in order, until
/// it has taken others.
class Post {
 public:
  Post(std::string name, caf::actor actor, runtime::Cell* cell, size_t credit = mailbox_credit)
      : name_(std::move(name)), actor_(std::move(actor)), cell_(cell), credit_(credit) {}

  const caf::actor& actor() const { return actor_; }
  runtime::Cell* cell() const { return cell_; }  ///< null: none

  /// From any thread. Throws OverloadError when too much is held back.
  void send(caf::message message);
  /// The actor has taken one.
  void taken();

 private:
  const std::string name_;
  const caf::actor actor_;
  runtime::Cell* const cell_;
  const size_t credit_;
  std::mutex mutex_;
  size_t in_mailbox_ = 0;
  std::deque<caf::message> parked_;
};

/// Actors by name. Whoever wants to tell another something looks it up when it does, so one that
/// has been restarted is found again.
class Directory {
 public:
  void put(const Address& address, caf::actor actor, runtime::Cell* cell = nullptr);
  /// An invalid handle if nobody stands there.
  caf::actor find(const Address& address) const;
  /// Null if nobody stands there.
  std::shared_ptr<Post> post(const Address& address) const;
  std::vector<std::pair<Address, caf::actor>> all() const;
  std::vector<std::pair<Address, caf::actor>> of(Role role) const;
  void clear();

 private:
  mutable std::mutex mutex_;
  std::map<Address, std::shared_ptr<Post>> posts_;
};

}  // namespace troupe::actors
