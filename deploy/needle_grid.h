// How well needles are found, by length of the haystack and depth: as a table and as JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "actors/model/needle_scorer.h"

namespace troupe::deploy {

/// The haystacks of one length and depth. Shares are in [0, 1], of the trials.
struct NeedleCell {
  int64_t length;
  double depth;  ///< percent
  int64_t trials;
  double exact;     ///< share of trials whose greedy continuation is the value
  double chosen;    ///< share of trials in which the value is the likeliest candidate
  double log_prob;  ///< mean of ln p of the value
};

/// Means over at least one score.
NeedleCell make_cell(int64_t length, double depth, std::span<const actors::NeedleScore> scores);

struct NeedleGrid {
  std::vector<int64_t> lengths;
  std::vector<double> depths;
  std::vector<NeedleCell> cells;  ///< of each length in turn, of each depth
};

/// Of each measure a row for each depth, a column for each length, and the means of the columns.
std::string grid_table(const NeedleGrid& grid);

/// The cells, and the means over the depths of each length.
nlohmann::ordered_json grid_json(const NeedleGrid& grid);

}  // namespace troupe::deploy
