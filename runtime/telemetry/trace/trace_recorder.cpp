#include "runtime/telemetry/trace/trace_recorder.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <fstream>
#include <utility>

#include "runtime/telemetry/cell_clock.h"
#include "runtime/telemetry/trace/trace_file.h"

namespace troupe::runtime {

int64_t trace_clock_ns() { return static_cast<int64_t>(steady_ns()); }

void set_clock(TraceOrigin& origin) {
  std::ifstream("/proc/sys/kernel/random/boot_id") >> origin.boot;
  const auto unix_now = std::chrono::system_clock::now().time_since_epoch();
  origin.unix_minus_steady_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(unix_now).count() - trace_clock_ns();
}

/// What comes before the list begins was there when it began.
ListRecording::ListRecording(TracedList list) : list_(std::move(list)) {
  for (TracedOperation& each : list_.operations) each.ready_ns = list_.begin_ns;
}

void ListRecording::arrived(bool is_forward, int stage, int micro_batch, int64_t now_ns) {
  using Kind = config::Operation::Kind;
  std::lock_guard lock(mutex_);
  for (TracedOperation& each : list_.operations) {
    const config::Operation& o = each.operation;
    const bool is_of_kind = is_forward ? o.kind == Kind::forward
                                       : o.kind == Kind::backward || o.kind == Kind::backward_input;
    if (is_of_kind && o.stage == stage && o.micro_batch == micro_batch) each.ready_ns = now_ns;
  }
}

void ListRecording::began(size_t operation, int64_t now_ns) {
  std::lock_guard lock(mutex_);
  list_.operations.at(operation).begin_ns = now_ns;
}

void ListRecording::ended(size_t operation, int64_t now_ns) {
  std::lock_guard lock(mutex_);
  list_.operations.at(operation).end_ns = now_ns;
}

void ListRecording::list_ended(int64_t now_ns) {
  std::lock_guard lock(mutex_);
  list_.end_ns = now_ns;
}

TracedList ListRecording::get() const {
  std::lock_guard lock(mutex_);
  return list_;
}

ListRecordingPtr TraceRecorder::begin(TracedList list) {
  if (!wants(list.step)) return nullptr;
  const std::tuple key(list.step, list.worker, list.rank);
  const auto recording = std::make_shared<ListRecording>(std::move(list));
  std::lock_guard lock(mutex_);
  if (newest_written_ >= args_.last_step) return nullptr;  // a step that is done again behind all of them
  if (!std::exchange(has_begun_, true)) {
    std::error_code ignored;  // what cannot be taken away is written over, or noticed by who reads it
    std::filesystem::remove(args_.file, ignored);
    for (const auto& other : args_.others) std::filesystem::remove(other, ignored);
  }
  lists_[key] = recording;
  return recording;
}

bool TraceRecorder::committed(int64_t step) {
  std::lock_guard lock(mutex_);
  newest_committed_ = std::max(newest_committed_, step);
  return newest_committed_ >= args_.last_step && newest_written_ < args_.last_step;
}

std::string TraceRecorder::write() {
  std::lock_guard lock(mutex_);
  const int64_t newest = std::min(newest_committed_, args_.last_step);
  if (newest <= newest_written_) return {};
  TracePart part{args_.origin, {}};
  for (const auto& [key, recording] : lists_) {
    if (std::get<0>(key) > newest) continue;
    TracedList list = recording->get();
    if (list.is_complete()) part.lists.push_back(std::move(list));
  }
  if (part.lists.empty()) return {};
  try {
    write_trace_part(args_.file, part);
  } catch (const std::exception& error) {
    return std::string("the trace is not written: ") + error.what();
  }
  newest_written_ = newest;
  lists_.clear();
  return {};
}

}  // namespace troupe::runtime
