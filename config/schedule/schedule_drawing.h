#pragma once

#include <string>
#include <vector>

#include "config/schedule/simulator.h"

namespace troupe::config {

struct ScheduleDrawing {
  std::string title;
  std::string time_unit;  ///< empty: unit costs
  const PipelineLists& lists;
  const PlayedSchedule& played;  ///< of `lists`
};

/// A timeline as SVG: a row for each rank, a box for each operation with its micro-batch's number.
/// Of the two stages of a rank the one nearer to the embedding is darker. Side by side means above
/// each other: forward on top.
std::string draw_schedule(const ScheduleDrawing& drawing);

/// A time in which a rank has nothing but to wait for another process.
struct WaitingTime {
  double begin;
  double end;
};

struct Timeline {
  std::string heading;  ///< above its rows; empty: none
  const PipelineLists& lists;
  const PlayedSchedule& played;                   ///< of `lists`, simulated or measured
  std::vector<std::vector<WaitingTime>> waiting;  ///< by rank; empty: not known
};

/// Several of them, one above the other, at one scale of time.
struct TimelinesDrawing {
  std::string title;
  std::string time_unit;  ///< empty: unit costs
  std::vector<Timeline> timelines;
};
std::string draw_timelines(const TimelinesDrawing& drawing);

}  // namespace troupe::config
