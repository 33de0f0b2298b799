#include "deploy/model/needle_grid.h"

#include <gmock/gmock.h>

namespace troupe::deploy {
namespace {

NeedleGrid grid() {
  const std::vector<actors::NeedleScore> found{{true, true, -0.5}, {true, true, -1.5}};
  const std::vector<actors::NeedleScore> half{{false, true, -2.0}, {false, false, -4.0}};
  return {1, {64, 256}, {0, 62.5},
          {make_cell(64, 0, found, 1), make_cell(64, 62.5, half, 1), make_cell(256, 0, half, 1),
           make_cell(256, 62.5, half, 1)}};
}

TEST(NeedleGrid, ACellIsTheMeanOfItsScores) {
  const NeedleCell cell = grid().cells[1];

  EXPECT_EQ(cell.trials, 2);
  EXPECT_EQ(cell.exact, 0.0);
  EXPECT_EQ(cell.chosen, 0.5);
  EXPECT_EQ(cell.log_prob, -3.0);
}

TEST(NeedleGrid, AHaystackIsReadToTheEndWhenAllItsAnswersAreExact) {
  const std::vector<actors::NeedleScore> scores{{true, true, -1.0}, {true, true, -1.0},
                                                {true, true, -1.0}, {false, true, -3.0}};

  const NeedleCell cell = make_cell(64, 50, scores, 2);

  EXPECT_EQ(cell.trials, 2);
  EXPECT_EQ(cell.exact, 0.75);
  EXPECT_EQ(cell.all, 0.5);
  EXPECT_EQ(cell.log_prob, -1.5);
  EXPECT_THAT(grid_table({2, {64}, {50}, {cell}}),
              testing::HasSubstr("all 2 values of a haystack are found, %\n"
                                 "  depth \\ length      64\n"
                                 "            50 %      50\n"
                                 "            mean      50\n"));
}

TEST(NeedleGrid, DepthsAreRowsAndLengthsColumns) {
  EXPECT_EQ(grid_table(grid()),
            "greedy continuation is the value, %\n"
            "  depth \\ length      64     256\n"
            "             0 %     100       0\n"
            "          62.5 %       0       0\n"
            "            mean      50       0\n"
            "value is the likeliest candidate, %\n"
            "  depth \\ length      64     256\n"
            "             0 %     100      50\n"
            "          62.5 %      50      50\n"
            "            mean      75      50\n"
            "mean ln p of the value\n"
            "  depth \\ length      64     256\n"
            "             0 %   -1.00   -3.00\n"
            "          62.5 %   -3.00   -3.00\n"
            "            mean   -2.00   -3.00\n");
}

TEST(NeedleGrid, JsonHasEveryCellAndTheMeansOfEachLength) {
  const auto json = grid_json(grid());

  ASSERT_EQ(json["cells"].size(), 4u);
  EXPECT_EQ(json["cells"][1].dump(),
            R"({"length":64,"depth":62.5,"trials":2,"exact":0.0,"all":0.0,"chosen":0.5,"log_prob":-3.0})");
  ASSERT_EQ(json["means"].size(), 2u);
  EXPECT_EQ(json["means"][0].dump(),
            R"({"length":64,"exact":0.5,"all":0.5,"chosen":0.75,"log_prob":-2.0})");
}

}  // namespace
}  // namespace troupe::deploy
