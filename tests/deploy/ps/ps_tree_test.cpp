#include "deploy/ps/ps_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using deploy::ps_rows;
using runtime::CellView;
using testing::ElementsAre;

CellView cell(const std::string& name, const std::string& parent, uint64_t incarnation = 1,
              bool is_dead = false) {
  CellView view;
  view.name = name;
  view.parent = parent;
  view.incarnation = incarnation;
  view.is_dead = is_dead;
  return view;
}

/// "depth name.incarnation" of every row.
std::vector<std::string> shown(const std::vector<CellView>& cells, bool is_all = false) {
  std::vector<std::string> out;
  for (const auto& row : ps_rows(cells, is_all)) {
    const CellView& view = cells[row.cell];
    out.push_back(std::to_string(row.depth) + " " + view.name + "." +
                  std::to_string(view.incarnation));
  }
  return out;
}

TEST(PsTree, ChildrenStandBelowTheirParentInTheOrderOfTheirCells) {
  EXPECT_THAT(shown({cell("leaf", "b"), cell("top", ""), cell("a", "top"), cell("b", "top"),
                     cell("leaf2", "a")}),
              ElementsAre("0 top.1", "1 a.1", "2 leaf2.1", "1 b.1", "2 leaf.1"));
}

TEST(PsTree, AParentThatIsNotThereLeavesItsChildrenAtTheTop) {
  EXPECT_THAT(shown({cell("a", "gone"), cell("b", "a")}), ElementsAre("0 a.1", "1 b.1"));
}

TEST(PsTree, TheNewestLifeComesFirstAndTheLastDeadOneStays) {
  const std::vector<CellView> cells{cell("a", "", 1, true), cell("a", "", 3),
                                    cell("a", "", 2, true), cell("b", "a", 7, true)};

  EXPECT_THAT(shown(cells), ElementsAre("0 a.3", "0 a.2", "1 b.7"));
  EXPECT_THAT(shown(cells, true), ElementsAre("0 a.3", "0 a.2", "0 a.1", "1 b.7"));
}

TEST(PsTree, RingsAreCut) {
  EXPECT_THAT(shown({cell("a", "b"), cell("b", "a"), cell("self", "self")}),
              ElementsAre("0 self.1", "0 a.1", "1 b.1"));
}

TEST(PsTree, AChainOfAllCellsIsNoDeepRecursion) {
  std::vector<CellView> cells;
  for (int i = 0; i < 4096; ++i) cells.push_back(cell(std::to_string(i), std::to_string(i - 1)));

  EXPECT_EQ(ps_rows(cells, false).back().depth, 4095);
}

}  // namespace
}  // namespace troupe::tests
