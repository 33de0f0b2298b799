#include "deploy/bench/kernels/families.h"

#include <gmock/gmock.h>

#include <set>

namespace troupe::deploy::kernel_bench {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::SizeIs;
using testing::Throws;
using testing::ThrowsMessage;

std::vector<std::string> names(const std::vector<Family>& families) {
  std::vector<std::string> names;
  for (const Family& family : families) names.push_back(family.name);
  return names;
}

TEST(KernelFamilies, AreChosenByAnyPartOfTheirNamesInTheTablesOrder) {
  EXPECT_THAT(names(families_with({"gate", "FP8 dense"})), ElementsAre("FP8 dense", "gate"));
  EXPECT_THAT(names(families_with({"attention"})), ElementsAre("attention forward", "attention backward"));
  EXPECT_THAT(names(families_with({"attention", "attention forward"})),
              ElementsAre("attention forward", "attention backward"));
  EXPECT_THAT(families_with({}), SizeIs(families().size()));
}

TEST(KernelFamilies, APartOfNoNameIsRefusedWithAllNames) {
  EXPECT_THAT([] { families_with({"gate", "fp8"}); },
              ThrowsMessage<std::runtime_error>(AllOf(HasSubstr("no family has 'fp8' in its name"),
                                                      HasSubstr("'FP8 dense', "), HasSubstr(", 'gate'"))));
}

TEST(KernelFamilies, HaveOneNameEach) {
  const std::vector<std::string> all = names(families());

  EXPECT_THAT(std::set<std::string>(all.begin(), all.end()), SizeIs(all.size()));
}

TEST(KernelTargets, OfTimesAreUpperBoundsAndOthersLowerOnes) {
  const Target time{Quantity::microseconds, 10, false}, share{Quantity::share, 0.88, false};

  EXPECT_TRUE(time.is_met_by(10));
  EXPECT_FALSE(time.is_met_by(10.1));
  EXPECT_TRUE(share.is_met_by(0.88));
  EXPECT_FALSE(share.is_met_by(0.879));
  EXPECT_EQ(describe(time), "<= 10 us");
  EXPECT_EQ(describe(share), ">= 88 %");
  EXPECT_EQ(describe(Target{Quantity::ratio, 1.1, true}), ">= 1.10 x");
  EXPECT_EQ(describe(Target{Quantity::tflops, 900, false}), ">= 900 TFLOPS");
  EXPECT_EQ(describe(Target{Quantity::terabytes_a_second, 3.9, false}), ">= 3.9 TB/s");
}

}  // namespace
}  // namespace troupe::deploy::kernel_bench
