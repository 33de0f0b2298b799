// The file `events` of a run folder: what happened to the run and to its actors.
#pragma once

#include <atomic>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/telemetry/event_format.h"

namespace troupe::runtime {

/// Microseconds since 1970.
uint64_t unix_us();

/// Appends events. Thread-safe. One process writes at a time: whoever has the run folder's lock.
class EventLog {
 public:
  /// Makes the log, or opens one and cuts off a torn tail. Throws EventLogError if the file is no
  /// event log, which leaves it as it is, or cannot be written.
  explicit EventLog(const std::filesystem::path& path);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  /// Stamps the time unless `event` has one, and writes. An event that cannot be written is dropped
  /// and counted, and the next one that can says so; nothing of it remains in the file.
  void append(wire::Event event) noexcept;

  /// Events that were dropped.
  uint64_t dropped() const;
  /// Why the last one was; empty: none.
  std::string error() const;

 private:
  bool write(const std::string& record);  // under mutex_

  const std::filesystem::path path_;
  mutable std::mutex mutex_;
  int file_ = -1;
  uint64_t bytes_ = 0;      // of whole records and the magic
  bool has_scrap_ = false;  // a part of a record stands behind them
  std::atomic<uint64_t> dropped_ = 0;
  uint64_t told_ = 0;
  std::string error_;
};

/// What a log holds, also one that is being written.
struct EventHistory {
  std::vector<wire::Event> events;
  std::vector<std::string> notes;  ///< torn and damaged parts, for the user
};

/// Throws EventLogError if `path` cannot be read or is no event log.
EventHistory read_events(const std::filesystem::path& path);

/// Reads a log piece by piece, and what is added to it later.
class EventFollower {
 public:
  /// Throws EventLogError as read_events does.
  explicit EventFollower(const std::filesystem::path& path);
  ~EventFollower();
  EventFollower(const EventFollower&) = delete;
  EventFollower& operator=(const EventFollower&) = delete;

  /// The next events; none: there are no more whole ones for now.
  std::vector<wire::Event> read();
  /// Damaged parts that have been passed over, and the tail that is not whole.
  std::vector<std::string> notes() const;
  /// Where the last whole event ends; 0: not even the magic is whole.
  uint64_t whole_bytes() const { return offset_; }

 private:
  void add_damage(const EventDamage& damage);

  const std::filesystem::path path_;
  int file_ = -1;
  uint64_t offset_ = 0;  // where the next record begins
  uint64_t torn_bytes_ = 0;
  std::vector<EventDamage> damage_;
};

/// "actor_restarted"
std::string event_kind_name(wire::Event::Kind kind);

}  // namespace troupe::runtime
