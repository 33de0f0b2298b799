// How well needles are found, by length of the haystack and depth: as a table and as JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "actors/inference/needle_scorer.h"

namespace troupe::deploy {

/// The haystacks of one length and depth. Shares are in [0, 1]; those of answers are of all that
/// were asked for, in all haystacks.
struct NeedleCell {
  int64_t length;
  double depth;  ///< percent
  int64_t trials;   ///< haystacks
  double exact;     ///< share of answers whose greedy continuation is the value
  double chosen;    ///< share of answers in which the value is the likeliest candidate
  double log_prob;  ///< mean of ln p of the value
  double all;       ///< share of haystacks of which every answer is exact
};

/// Means over at least one haystack: `scores` are those of its questions, of each in turn.
NeedleCell make_cell(int64_t length, double depth, std::span<const actors::NeedleScore> scores,
                     int questions);

struct NeedleGrid {
  int questions;  ///< of a haystack
  std::vector<int64_t> lengths;
  std::vector<double> depths;
  std::vector<NeedleCell> cells;  ///< of each length in turn, of each depth
};

/// Of each measure (of `all` where there are several questions) a row for each depth, a column for each length, and the means of the columns.
std::string grid_table(const NeedleGrid& grid);

/// The cells, and the means over the depths of each length.
nlohmann::ordered_json grid_json(const NeedleGrid& grid);

}  // namespace troupe::deploy
