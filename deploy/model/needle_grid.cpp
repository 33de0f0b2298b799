#include "deploy/model/needle_grid.h"

#include <fmt/format.h>

#include <algorithm>

namespace troupe::deploy {
namespace {

using Measure = double (*)(const NeedleCell&);

double column_mean(const NeedleGrid& grid, size_t column, Measure measure) {
  double sum = 0;
  for (size_t row = 0; row < grid.depths.size(); ++row) {
    sum += measure(grid.cells[column * grid.depths.size() + row]);
  }
  return sum / static_cast<double>(grid.depths.size());
}

std::string one_table(const NeedleGrid& grid, const char* title, Measure measure, int digits) {
  std::string text = fmt::format("{}\n  depth \\ length", title);
  for (const int64_t length : grid.lengths) text += fmt::format("{:>8}", length);
  for (size_t row = 0; row < grid.depths.size(); ++row) {
    text += fmt::format("\n  {:>12.4g} %", grid.depths[row]);
    for (size_t column = 0; column < grid.lengths.size(); ++column) {
      text += fmt::format("{:>8.{}f}", measure(grid.cells[column * grid.depths.size() + row]),
                          digits);
    }
  }
  text += "\n            mean";
  for (size_t column = 0; column < grid.lengths.size(); ++column) {
    text += fmt::format("{:>8.{}f}", column_mean(grid, column, measure), digits);
  }
  return text + "\n";
}

double exact_of(const NeedleCell& cell) { return cell.exact; }
double chosen_of(const NeedleCell& cell) { return cell.chosen; }
double all_of(const NeedleCell& cell) { return cell.all; }
double log_prob_of(const NeedleCell& cell) { return cell.log_prob; }
double exact_percent(const NeedleCell& cell) { return 100 * cell.exact; }
double all_percent(const NeedleCell& cell) { return 100 * cell.all; }
double chosen_percent(const NeedleCell& cell) { return 100 * cell.chosen; }

}  // namespace

NeedleCell make_cell(int64_t length, double depth, std::span<const actors::NeedleScore> scores,
                     int questions) {
  NeedleCell cell{length, depth, std::ssize(scores) / questions, 0, 0, 0, 0};
  for (const actors::NeedleScore& score : scores) {
    cell.exact += score.is_exact;
    cell.chosen += score.is_chosen;
    cell.log_prob += score.log_prob;
  }
  const auto n = static_cast<double>(scores.size());
  cell.exact /= n;
  cell.chosen /= n;
  cell.log_prob /= n;
  for (auto left = scores; !left.empty(); left = left.subspan(static_cast<size_t>(questions))) {
    const auto of_one = left.first(static_cast<size_t>(questions));
    cell.all += std::ranges::all_of(of_one, &actors::NeedleScore::is_exact);
  }
  cell.all /= static_cast<double>(cell.trials);
  return cell;
}

std::string grid_table(const NeedleGrid& grid) {
  std::string text = one_table(grid, "greedy continuation is the value, %", exact_percent, 0);
  if (grid.questions > 1) {
    const std::string title =
        fmt::format("all {} values of a haystack are found, %", grid.questions);
    text += one_table(grid, title.c_str(), all_percent, 0);
  }
  return text + one_table(grid, "value is the likeliest candidate, %", chosen_percent, 0) +
         one_table(grid, "mean ln p of the value", log_prob_of, 2);
}

nlohmann::ordered_json grid_json(const NeedleGrid& grid) {
  nlohmann::ordered_json json;
  for (size_t column = 0; column < grid.lengths.size(); ++column) {
    json["means"].push_back({{"length", grid.lengths[column]},
                             {"exact", column_mean(grid, column, exact_of)},
                             {"all", column_mean(grid, column, all_of)},
                             {"chosen", column_mean(grid, column, chosen_of)},
                             {"log_prob", column_mean(grid, column, log_prob_of)}});
  }
  for (const NeedleCell& cell : grid.cells) {
    json["cells"].push_back({{"length", cell.length}, {"depth", cell.depth},
                             {"trials", cell.trials}, {"exact", cell.exact}, {"all", cell.all},
                             {"chosen", cell.chosen}, {"log_prob", cell.log_prob}});
  }
  return json;
}

}  // namespace troupe::deploy
