// Which operator the threads spend their time in. Off unless somebody measures: then an operator
// costs two readings of the clock a part.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace troupe::kernels {

/// Names the operations that this thread enqueues while it lives. The innermost name counts.
class OperatorLabel {
 public:
  explicit OperatorLabel(const char* name) : outer_(current_) { current_ = name; }
  ~OperatorLabel() { current_ = outer_; }
  OperatorLabel(const OperatorLabel&) = delete;
  OperatorLabel& operator=(const OperatorLabel&) = delete;
  static const char* current() { return current_; }

 private:
  static thread_local const char* current_;
  const char* const outer_;
};

struct OperatorTime {
  int64_t parts = 0;
  double seconds = 0;  ///< of all threads together, and of the GPU
};

void set_profiling(bool on);
bool is_profiling();
void add_operator_time(const char* name, double seconds);
/// A part of an operation while it lives, of one that throws too: its time is the thread's busy time
/// (busy_time.h), and the operator's where somebody measures.
class BusyPart {
 public:
  explicit BusyPart(const char* name) : name_(name) {}
  ~BusyPart();
  BusyPart(const BusyPart&) = delete;
  BusyPart& operator=(const BusyPart&) = delete;

 private:
  const char* name_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// What has been measured since the last call, by operator.
std::map<std::string, OperatorTime> take_profile();

}  // namespace troupe::kernels
