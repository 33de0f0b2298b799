#include "deploy/chaos/fault_plan.h"

#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <set>

#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

using actors::Fault;
using actors::Phase;
using actors::Role;
using deploy::fault_plan;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// A file that goes with it.
struct PlanFile {
  explicit PlanFile(const std::string& text)
      : path(own_folder().replace_extension("test.txt")) {
    std::ofstream(path) << text;
  }
  ~PlanFile() { std::filesystem::remove(path); }
  const std::filesystem::path path;
};

/// Actors of every role but an evaluator.
std::vector<int> counts() {
  std::vector<int> all(actors::roles, 2);
  all[static_cast<size_t>(Role::evaluator)] = 0;
  return all;
}

deploy::FaultPlanArgs args(int count) {
  return {.seed = 5, .count = count, .every = 4, .checkpoint_every = 10,
          .kinds = {Fault::crash, Fault::drop}, .counts = counts()};
}

TEST(FaultPlan, HasOneFailureEverySoManyStepsAndEachCombinationBeforeOneComesAgain) {
  const auto plan = fault_plan(args(300));

  ASSERT_EQ(plan.size(), 300u);
  std::map<std::string, int> met;
  std::map<Role, std::set<int>> indices;
  for (size_t i = 0; i < plan.size(); ++i) {
    EXPECT_EQ(plan[i].step, 4 * (i + 1));
    EXPECT_TRUE(actors::can_have(plan[i].role, plan[i].fault)) << to_string(plan[i]);
    ++met[std::string(to_string(plan[i].fault)) + to_string(plan[i].role) + to_string(plan[i].phase)];
    indices[plan[i].role].insert(plan[i].index);
    EXPECT_TRUE(plan[i].phase != Phase::checkpoint || plan[i].step % 10 == 0) << to_string(plan[i]);
  }
  int combinations = 0;
  for (int role = 0; role < actors::roles; ++role) {
    if (static_cast<Role>(role) == Role::evaluator) continue;
    const auto phases = static_cast<int>(actors::phases_of(static_cast<Role>(role)).size());
    combinations += phases * (actors::can_have(static_cast<Role>(role), Fault::drop) ? 2 : 1);
  }
  EXPECT_EQ(met.size(), static_cast<size_t>(combinations));
  EXPECT_EQ(indices[Role::stage], (std::set<int>{0, 1}));
}

TEST(FaultPlan, HasNothingInTheFirstStepThatOnlyAMeasuredTimeShows) {
  auto a = args(200);
  a.every = 1;
  a.kinds = {Fault::drop, Fault::hang, Fault::crash};
  for (a.seed = 0; a.seed < 20; ++a.seed) {
    const auto plan = fault_plan(a);
    ASSERT_EQ(plan.size(), 200u);
    EXPECT_EQ(plan[0].step, 1u);
    EXPECT_EQ(plan[0].fault, Fault::crash) << "seed " << a.seed;
  }
}

TEST(FaultPlan, HasNoFailureWhereNoneOfItsKindsCanBe) {
  auto a = args(200);
  a.every = 1;
  a.kinds = {Fault::hang};
  const auto plan = fault_plan(a);
  ASSERT_EQ(plan.size(), 199u);
  EXPECT_EQ(plan[0].step, 2u);
}

TEST(FaultPlan, IsAFunctionOfTheSeed) {
  const auto texts = [](uint64_t seed) {
    auto a = args(40);
    a.seed = seed;
    std::vector<std::string> all;
    for (const auto& f : fault_plan(a)) all.push_back(to_string(f));
    return all;
  };
  EXPECT_EQ(texts(1), texts(1));
  EXPECT_NE(texts(1), texts(2));
}

TEST(FaultPlan, OfAFileIsReadLineByLine) {
  const PlanFile file("# two\ncrash expert_shard/1@7:backward   # in the middle\n\n"
                      "  delay stage/0@9:forward#2+15\r\n");

  const auto plan = deploy::read_fault_plan(file.path);

  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(to_string(plan[0]), "crash expert_shard/1@7:backward");
  EXPECT_EQ(to_string(plan[1]), "delay stage/0@9:forward#2+15");
}

TEST(FaultPlan, ThatCannotBeReadIsRefusedWithFileAndLine) {
  const auto refusal = [](const std::string& text) {
    return [text] {
      const PlanFile file(text);
      deploy::read_fault_plan(file.path);
    };
  };
  using actors::FailpointError;
  EXPECT_THAT(refusal("crash stage@1:begin\nburn stage@1:begin\n"),
              ThrowsMessage<FailpointError>(HasSubstr("test.txt:2: failpoint 'burn stage@1:begin': "
                                                      "does not begin with kill, fail")));
  EXPECT_THAT(refusal("crash stage/x@1:begin\n"),
              ThrowsMessage<FailpointError>(HasSubstr("test.txt:1: ")));
  EXPECT_THAT(refusal("# nothing\n"), ThrowsMessage<FailpointError>(HasSubstr("holds no failpoint")));
  EXPECT_THAT([&] { deploy::read_fault_plan("no_such_plan"); },
              ThrowsMessage<FailpointError>(HasSubstr("cannot read the fault plan")));
  EXPECT_THAT([] { deploy::fault_kinds({"crash", "burn"}); },
              ThrowsMessage<FailpointError>(HasSubstr("found the kind of failure 'burn', wanted one of kill, ")));
}

}  // namespace
}  // namespace troupe::tests
