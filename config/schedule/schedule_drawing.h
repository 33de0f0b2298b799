#pragma once

#include <string>

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

}  // namespace troupe::config
