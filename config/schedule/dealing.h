// Which data worker takes which micro-batch of a step. Gradients, losses and loads of micro-batches are
// exact sums (law 2), so none of this changes a bit.
#pragma once

#include <span>
#include <vector>

#include "config/plan/cost_model.h"

namespace troupe::config {

/// Numbers of micro-batches that differ by at most one, of each data worker.
std::vector<int> equal_shares(int micro_batches, int workers);

/// Deals 0, 1, ... in turn to those that have not got their share yet, so that every worker begins with an
/// early one. By data worker, ascending.
std::vector<std::vector<int>> deal(std::span<const int> shares);

/// How many each has.
std::vector<int> shares_of(const std::vector<std::vector<int>>& hands);

struct PacedShares {
  const Plan& plan;
  const UnitWork& work;
  std::span<const double> paces;  ///< by process: its time for an operation, of any unit; all above 0
  int micro_batches;              ///< of the step
};

/// Shares with which the slowest process is done with its part of the step first. Each is one that the
/// plan's schedule can play, at least 1. Equal ones, where these cannot be played anyhow (a small step),
/// and where unequal ones would gain less than a twentieth: they are not moved for nothing.
///
/// Each time the worker gets more that is done with it first; of equal ones the one with less, then the
/// lower. For workers in processes of their own that is the best there is: whoever has any more in
/// another dealing is done no sooner.
std::vector<int> paced_shares(const PacedShares& args);

}  // namespace troupe::config
