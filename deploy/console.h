// What a run says while it goes: one line a step.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "actors/train/timeline.h"
#include "runtime/proto/events.pb.h"
#include "runtime/proto/step.pb.h"

namespace troupe::deploy {

struct ConsoleOptions {
  int64_t steps;
  const actors::Timeline& timeline;  ///< outlives the console
  bool varies;                       ///< its steps are not all of one size
  std::function<double(int64_t sequence_rows)> flops_per_token;  ///< of training
  double peak_flops;       ///< of the run's threads, measured on this machine
  bool is_terminal;        ///< a progress line with the time that remains is kept at the bottom
};

class Console {
 public:
  explicit Console(const ConsoleOptions& options) : options_(options) {}

  void step_done(const wire::StepDone& done);
  void evaluated(const wire::Evaluation& evaluation);
  /// A line for what has failed, or been made of a failure.
  void happened(const wire::Event& event);
  /// The last line of a run: what its last step was, with the hash.
  void finished(const wire::StepDone& last);
  /// Standard output is a pipe that nobody reads any more.
  bool is_reader_gone() const { return is_reader_gone_; }

 private:
  void write(const std::string& text);
  void print(const std::string& line);
  std::string step_line(const wire::StepDone& done) const;

  const ConsoleOptions options_;
  bool is_reader_gone_ = false;
  double seconds_ = 0;  // of steps, smoothed
};

/// Bits per byte of the scored text whose tokens' losses add up to `nats`.
double bits_per_byte(double nats, int64_t bytes);

/// Mean loss of a token.
double mean_loss(double nats, int64_t tokens);

}  // namespace troupe::deploy
