// Plays the lists of a schedule against costs: when does what run, and who waits how long?
#pragma once

#include <vector>

#include "config/schedule/schedule.h"

namespace troupe::config {

/// Times of one micro-batch in one stage, in any one unit.
struct StageCosts {
  double forward;
  double backward;         ///< whole
  double backward_weight;  ///< the part of `backward` that can be left for later
};

struct ScheduleCosts {
  std::vector<StageCosts> stages;
  /// What a forward beside a backward takes, as a share of both one after the other: less than 1 if
  /// one computes while the other's rows travel.
  double beside;
  double transfer;  ///< from one rank to another, beside what either computes
};

/// F = 1, B = 2 with W = 1 in it, a pair 3, transfers free: the report's table 2.
ScheduleCosts unit_costs(int stages);

struct PlayedOperation {
  Operation operation;
  double begin;
  double end;
};

struct PlayedSchedule {
  /// By rank, in the order of its list. Two that are played side by side have the same times.
  std::vector<std::vector<PlayedOperation>> ranks;
  std::vector<double> idle;  ///< of each rank, from 0 to the end of all
  double makespan;           ///< end of the last operation of all

  double largest_idle() const;
};

/// Every rank begins its next operation as soon as it is free and what the operation needs is
/// there; two side by side begin when both can. Throws ConfigError if the lists wait in a circle.
PlayedSchedule simulate(const PipelineLists& lists, const ScheduleCosts& costs);

}  // namespace troupe::config
