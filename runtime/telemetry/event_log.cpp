#include "runtime/telemetry/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>

namespace troupe::runtime {
namespace {

/// What is read at a time: many times the largest record.
constexpr size_t window_bytes = size_t{1} << 20;

EventLogError failure(const std::string& what, const std::filesystem::path& path) {
  return EventLogError("cannot " + what + " " + path.string() + ": " + std::strerror(errno));
}

/// Up to `most` bytes at `offset`.
std::vector<uint8_t> read_at(int file, uint64_t offset, size_t most,
                             const std::filesystem::path& path) {
  std::vector<uint8_t> bytes(most);
  size_t done = 0;
  while (done < most) {
    const ssize_t n =
        ::pread(file, bytes.data() + done, most - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw failure("read", path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

/// False: errno says why.
bool write_all(int file, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(file, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = ENOSPC;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

uint64_t unix_us() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(since).count());
}

EventLog::EventLog(const std::filesystem::path& path) : path_(path) {
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) throw failure("open", path);
  try {
    EventFollower whole(path);
    while (!whole.read().empty()) {
    }
    bytes_ = whole.whole_bytes();
    if (::ftruncate(file_, static_cast<off_t>(bytes_)) != 0) throw failure("shorten", path);
    if (bytes_ == 0) {
      if (!write_all(file_, std::string(event_log_magic))) throw failure("write", path);
      bytes_ = event_log_magic.size();
    }
  } catch (const std::exception&) {
    ::close(file_);
    throw;
  }
}

EventLog::~EventLog() { ::close(file_); }

void EventLog::append(wire::Event event) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (event.unix_us() == 0) event.set_unix_us(unix_us());
    if (dropped_ > told_) {
      event.set_text(event.text() + (event.text().empty() ? "" : " ") + "(" +
                     std::to_string(dropped_ - told_) +
                     " events before this one were lost: " + error_ + ")");
    }
    if (write(frame_event(std::move(event)))) {
      told_ = dropped_;
    } else {
      ++dropped_;
    }
  } catch (const std::exception&) {
    // Without memory for a record there is none for a reason either.
    ++dropped_;
  }
}

bool EventLog::write(const std::string& record) {
  if (has_scrap_ && ::ftruncate(file_, static_cast<off_t>(bytes_)) != 0) {
    error_ = std::strerror(errno);
    return false;
  }
  has_scrap_ = false;
  if (!write_all(file_, record)) {
    error_ = std::strerror(errno);
    has_scrap_ = ::ftruncate(file_, static_cast<off_t>(bytes_)) != 0;
    return false;
  }
  bytes_ += record.size();
  return true;
}

uint64_t EventLog::dropped() const { return dropped_; }

std::string EventLog::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

EventFollower::EventFollower(const std::filesystem::path& path) : path_(path) {
  file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_ < 0) throw failure("open", path);
  try {
    // Throws if what is there is no log's begin.
    parse_events(read_at(file_, 0, event_log_magic.size(), path), path.string());
  } catch (const std::exception&) {
    ::close(file_);
    throw;
  }
}

EventFollower::~EventFollower() { ::close(file_); }

std::vector<wire::Event> EventFollower::read() {
  for (;;) {
    const auto bytes = read_at(file_, offset_, window_bytes, path_);
    if (offset_ == 0 && bytes.size() < event_log_magic.size()) {
      torn_bytes_ = bytes.size();
      return {};
    }
    ParsedEvents parsed =
        offset_ == 0 ? parse_events(bytes, path_.string()) : parse_event_records(bytes, offset_);
    for (const EventDamage& damage : parsed.damage) add_damage(damage);
    offset_ = parsed.valid_bytes;
    torn_bytes_ = parsed.torn_bytes;
    // A window without a record's end cannot be a record that goes on: none is so long.
    if (bytes.size() == window_bytes && torn_bytes_ > 2 * largest_event_bytes) {
      const uint64_t passed = torn_bytes_ - 2 * largest_event_bytes;
      add_damage({offset_, passed});
      offset_ += passed;
      if (parsed.events.empty()) continue;
    }
    return std::move(parsed.events);
  }
}

/// Parts that touch are one.
void EventFollower::add_damage(const EventDamage& damage) {
  if (!damage_.empty() && damage_.back().offset + damage_.back().bytes == damage.offset) {
    damage_.back().bytes += damage.bytes;
  } else {
    damage_.push_back(damage);
  }
}

std::vector<std::string> EventFollower::notes() const {
  std::vector<std::string> notes;
  for (const EventDamage& damage : damage_) {
    notes.push_back(path_.string() + ": " + std::to_string(damage.bytes) +
                    " bytes are damaged and passed over, at byte " + std::to_string(damage.offset));
  }
  if (torn_bytes_ > 0) {
    notes.push_back(path_.string() + ": its last " + std::to_string(torn_bytes_) +
                    " bytes are no whole event, at byte " + std::to_string(offset_));
  }
  return notes;
}

EventHistory read_events(const std::filesystem::path& path) {
  EventFollower follower(path);
  EventHistory history;
  for (auto events = follower.read(); !events.empty(); events = follower.read()) {
    std::move(events.begin(), events.end(), std::back_inserter(history.events));
  }
  history.notes = follower.notes();
  return history;
}

std::string event_kind_name(wire::Event::Kind kind) {
  std::string name = wire::Event::Kind_Name(kind);
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return name.empty() ? "kind_" + std::to_string(kind) : name;
}

}  // namespace troupe::runtime
