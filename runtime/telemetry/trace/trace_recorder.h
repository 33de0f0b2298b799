// Records which operation ran when, in the steps that a run wants it for: of every rank of this process.
//
// Times come from the lanes: who plays a list enqueues a mark before and behind each operation, and a mark reads the
// clock when its lane has come to it. So nothing that is computed changes, and without a recorder nothing is enqueued.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/telemetry/trace/trace_part.h"

namespace troupe::runtime {

/// Nanoseconds of the host's steady clock, the same for all of its processes.
int64_t trace_clock_ns();

/// One rank's list in one attempt of a step. Thread-safe. Operations are named by their place in the list; those of
/// an attempt that was given up may still be told, and nobody sees them.
class ListRecording {
 public:
  ListRecording(TracedList list);

  /// The message of a forward, or of a backward, of a micro-batch in a stage has come.
  void arrived(bool is_forward, int stage, int micro_batch, int64_t now_ns);
  void began(size_t operation, int64_t now_ns);
  void ended(size_t operation, int64_t now_ns);
  void list_ended(int64_t now_ns);

  TracedList get() const;

 private:
  mutable std::mutex mutex_;
  TracedList list_;
};
using ListRecordingPtr = std::shared_ptr<ListRecording>;

class TraceRecorder {
 public:
  /// Records the steps first to last, both included, into `file`. When the first of them begins, `file` and `others`
  /// are taken away: what stands there is of an earlier part of the run, or of another run.
  struct Args {
    int64_t first_step;
    int64_t last_step;
    std::filesystem::path file;
    TraceOrigin origin;
    std::vector<std::filesystem::path> others = {};
  };
  explicit TraceRecorder(Args args) : args_(std::move(args)) {}

  bool wants(int64_t step) const { return step >= args_.first_step && step <= args_.last_step; }

  /// A rank begins its list; what an earlier attempt of the step has recorded of it is forgotten. `list` has no
  /// times yet, but for when it begins. Null: the step is not wanted. Thread-safe, as everything here.
  ListRecordingPtr begin(TracedList list);

  /// A step is committed: what was recorded of it stays. True if it was the last that is wanted: time to write.
  bool committed(int64_t step);

  /// Writes what is committed and whole, if there is anything that the file does not have. What is wrong; empty:
  /// nothing is.
  std::string write();

 private:
  const Args args_;
  std::mutex mutex_;
  std::map<std::tuple<int64_t, int, int>, ListRecordingPtr> lists_;  // by step, worker and rank
  bool has_begun_ = false;
  int64_t newest_committed_ = -1;
  int64_t newest_written_ = -1;
};

}  // namespace troupe::runtime
