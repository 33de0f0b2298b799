#include "actors/company.h"

#include <gtest/gtest.h>

#include <latch>
#include <thread>

#include "actors/launch.h"
#include "tests/actors/run_of.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;

/// Five layers and two MTP modules in `layout`.
struct Small {
  explicit Small(const Layout& layout) : pool(layout.threads) {
    recipe = small_recipe();
    recipe.shape.layers = 5;
    recipe.shape.dense_layers = 1;
    recipe.shape.mtp_layers = 2;
    recipe.micro_batches = 5;
    arena.emplace(kernels::parameters(recipe.shape));
    company = std::make_shared<Company>(recipe, plan_of(layout, recipe), *arena, pool,
                                        BatchSource());
  }

  Recipe recipe;
  kernels::ThreadPool pool;
  std::optional<runtime::StateArena> arena;
  std::shared_ptr<Company> company;
};

TEST(Company, TheLastStageHasTheMtpModules) {
  const Small small({1, 3, 1, 1, 1, 1});  // layers 0, 1 2, 3 4

  std::vector<int> stages;
  for (int64_t layer = 0; layer < 7; ++layer) stages.push_back(small.company->stage_of(layer));

  EXPECT_EQ(stages, (std::vector<int>{0, 1, 1, 2, 2, 2, 2}));
  EXPECT_EQ(small.company->moe_layers(0), std::vector<int64_t>{});  // layer 0 is dense
  EXPECT_EQ(small.company->moe_layers(1), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(small.company->moe_layers(2), (std::vector<int64_t>{3, 4, 5, 6}));
}

TEST(Company, EveryExpertAndMicroBatchHasOneOwner) {
  const Small small({1, 1, 2, 3, 1, 1});
  const auto experts = static_cast<size_t>(small.recipe.shape.experts);

  const std::vector<int> owners = small.company->expert_holders(0, 0).owner;

  ASSERT_EQ(owners.size(), experts);
  for (size_t e = 0; e < experts; ++e) {
    const auto& range = small.company->plan.experts[static_cast<size_t>(owners[e])];
    EXPECT_LE(range.first, static_cast<int>(e));
    EXPECT_GT(range.first + range.count, static_cast<int>(e));
  }
  using Hands = std::vector<std::vector<int>>;
  EXPECT_EQ(small.company->hands({}, 5), (Hands{{0, 2, 4}, {1, 3}}));
  EXPECT_EQ(small.company->hands({}, 2), (Hands{{0}, {1}}));
  EXPECT_EQ(small.company->hands(std::vector<int>{1, 4}, 5), (Hands{{0}, {1, 2, 3, 4}}));
}

TEST(Company, MtpModulesSeeFewerRowsOfASequence) {
  const Small small({1, 1, 1, 1, 1, 1});
  const int64_t rows = small.recipe.sequence_rows;
  const StepNumbers step = small.company->timeline.at(1);

  EXPECT_EQ(small.company->sequence_rows(4, step), rows);
  EXPECT_EQ(small.company->sequence_rows(5, step), rows - 1);
  EXPECT_EQ(small.company->sequence_rows(6, step), rows - 2);
}

TEST(Company, DrainSkipsWhatWaitsAndLeavesNoClosure) {
  const Small small({1, 1, 1, 1, 1, 1});
  kernels::Queue& busy = small.company->lane({Role::stage});
  kernels::Queue& other = small.company->lane({Role::router});
  const auto memory = std::make_shared<int>(0);
  std::latch begun(1), may_end(1);
  std::string reason;

  busy.run(1, [&, memory](int64_t) {
    begun.count_down();
    may_end.wait();
    ++*memory;
  });
  for (int i = 0; i < 100; ++i) {
    busy.run(4, [memory](int64_t) { *memory += 1000; });
    other.run(1, [memory](int64_t) {});
  }
  busy.then([&, memory](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const std::exception& e) {
      reason = e.what();
    }
  });
  begun.wait();
  std::thread drainer([&] { small.company->drain(); });
  may_end.count_down();
  drainer.join();

  EXPECT_EQ(memory.use_count(), 1);
  EXPECT_EQ(*memory % 1000, 1);  // what had begun has ended
  kernels::Queue& next = small.company->lane({Role::stage});  // the old ones have gone
  next.run(1, [&](int64_t) { *memory = -1; });
  next.wait();
  EXPECT_EQ(*memory, -1);
}

TEST(Company, AWitnessThatIsTakenAwayIsUsedNoMore) {
  const Small small({1, 1, 1, 1, 1, 1});
  std::latch begun(1), may_end(1);
  bool has_heard = false, had_heard = false;
  small.company->witness.set([&](const wire::Event&) {
    begun.count_down();
    may_end.wait();
    has_heard = true;
  });

  std::thread watcher([&] { small.company->happened({}); });
  begun.wait();
  std::thread owner([&] {
    small.company->witness.set(nullptr);
    had_heard = has_heard;
  });
  may_end.count_down();
  owner.join();
  watcher.join();

  EXPECT_TRUE(had_heard);  // its end was waited for
  small.company->happened({});  // nobody hears
}

TEST(Address, SaysWhoItIs) {
  EXPECT_EQ(to_string(Address{Role::attention_shard, 2, 1, 3}), "attention_shard/2.1.3");
}

}  // namespace
}  // namespace troupe::tests
