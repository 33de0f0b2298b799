// The hashes of a step's units: the same for any layout, and a flipped bit shows in the right one.
#include "actors/messages/message_units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>

#include "runtime/state/unit_file.h"
#include "tests/actors/run_of.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using runtime::first_difference;
using testing::HasSubstr;
using testing::StartsWith;
using wire::UnitHash;

class Units : public testing::Test {
 protected:
  Units() {
    recipe_ = small_recipe();
    recipe_.shape.layers = 4;
    recipe_.shape.dense_layers = 1;
    recipe_.micro_batches = 4;
    recipe_.steps = 3;
  }

  using Listener = std::function<void(const UnitHash&, const kernels::ConstTensor&)>;
  /// The units of every step of a run.
  std::vector<wire::StepUnits> record(const Layout& layout, std::vector<Failpoint> failpoints = {},
                                      const Listener& listener = {}) const {
    std::vector<wire::StepUnits> steps;
    Company* company = nullptr;
    const auto batches = [this](uint64_t step) { return learnable_batches(recipe_, step); };
    const Outcome outcome = play_with_actors(
        recipe_, layout, batches,
        [&](const wire::StepDone&) {
          while (const auto units = company->units->oldest()) {
            steps.push_back(*units);
            company->units->drop(units->step());
          }
        },
        {.failpoints = std::move(failpoints), .prepare = [&](Company& all) {
           company = &all;
           all.record_units();
           all.units->listener = listener;
         }});
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(steps.size(), 3u);
    return steps;
  }

  /// What the first difference of step 2 is when the flip comes in it; step 1 must have none.
  std::string found(const Layout& layout, Role role, int index, Phase phase) const {
    const Failpoint flip{.fault = Fault::flip, .role = role, .index = index, .step = 2,
                         .phase = phase};
    const auto quiet = record(layout), flipped = record(layout, {flip});
    EXPECT_EQ(first_difference(quiet.at(0), flipped.at(0)), "");
    return first_difference(quiet.at(1), flipped.at(1));
  }

  static wire::StepUnits without_gradients(wire::StepUnits step) {
    auto& units = *step.mutable_units();
    units.erase(std::remove_if(units.begin(), units.end(), [](const UnitHash& unit) {
      return unit.kind() == UnitHash::GRADIENT;
    }), units.end());
    return step;
  }

  Recipe recipe_;
  const Layout one_{1, 1, 1, 1, 1, 1}, many_{2, 2, 2, 2, 2, 2};
};

TEST_F(Units, EveryLayoutRecordsTheSameFile) {
  const auto wanted = record(one_);
  using config::Parallel;
  for (const Layout& layout : {many_, Layout{4, 3, 1, 4, 2, 3}, Layout{2, 1, 4, 3, 1, 1},
                               Layout{2, 2, 1, 2, 1, 2, Parallel::ZERO_BUBBLE},
                               Layout{2, 2, 1, 2, 1, 2, Parallel::DUALPIPE},
                               Layout{2, 2, 2, 2, 1, 2, Parallel::DUALPIPE_V},
                               Layout{2, 1, 2, 2, 1, 2, Parallel::COMBINED_ONE_F_ONE_B}}) {
    const auto steps = record(layout);
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_EQ(first_difference(wanted[i], steps[i]), "") << to_string(layout);
      EXPECT_EQ(runtime::frame_units(steps[i]), runtime::frame_units(wanted[i]));
    }
  }
}

TEST_F(Units, AFileHoldsEveryBlockMessageAndGradient) {
  const wire::StepUnits step = record(many_).at(1);
  const runtime::StateArena arena(kernels::parameters(recipe_.shape));
  std::map<std::pair<int, int>, int> counts;
  for (const UnitHash& unit : step.units()) ++counts[{unit.kind(), unit.edge()}];

  const auto blocks = static_cast<int>(arena.blocks().size());
  EXPECT_EQ((counts[{UnitHash::WEIGHTS, 0}]), blocks);
  EXPECT_EQ((counts[{UnitHash::GRADIENT_SUM, 0}]), blocks);
  for (const auto kind : {UnitHash::FORWARD_MESSAGE, UnitHash::BACKWARD_MESSAGE}) {
    for (const auto edge : {UnitHash::TO_ATTENTION, UnitHash::FROM_ATTENTION}) {
      EXPECT_EQ((counts[{kind, edge}]), 4 * 5) << "micro-batches, layers with the MTP module's";
    }
    for (const auto edge : {UnitHash::TO_ROUTER, UnitHash::FROM_ROUTER}) {
      EXPECT_EQ((counts[{kind, edge}]), 4 * 4) << "micro-batches, MoE layers";
    }
    EXPECT_EQ((counts[{kind, UnitHash::TO_EXPERT}]), (counts[{kind, UnitHash::FROM_EXPERT}]));
    EXPECT_GT((counts[{kind, UnitHash::TO_EXPERT}]), 4 * 4);
  }
  // Each tensor in each micro-batch, embedding and head once more for the MTP module, but for the
  // three of an expert without rows.
  const int experts = 4 * 4 * 4 - counts[{UnitHash::FORWARD_MESSAGE, UnitHash::TO_EXPERT}];
  EXPECT_EQ((counts[{UnitHash::GRADIENT, 0}]), 4 * (arena.tensors() + 2) - 3 * experts);
}

// Law 3: a step done again leaves one epoch's units, and they are those of a quiet run.
TEST_F(Units, NothingOfAnAbandonedEpochStays) {
  const auto wanted = record(one_);
  for (const auto& [role, phase] : {std::pair{Role::stage, Phase::backward},
                                    {Role::expert_shard, Phase::forward},
                                    {Role::optimizer_shard, Phase::prepare},
                                    {Role::optimizer_shard, Phase::apply},
                                    {Role::coordinator, Phase::commit}}) {
    const auto steps =
        record(many_, {{.role = role, .index = 0, .step = 2, .phase = phase}});
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_EQ(runtime::frame_units(steps[i]), runtime::frame_units(wanted[i]))
          << actors::to_string(role) << " " << first_difference(wanted[i], steps[i]);
    }
  }
}

TEST_F(Units, AFlippedBitOfAMessageIsFoundInIt) {
  EXPECT_THAT(found(one_, Role::stage, 0, Phase::forward),
              StartsWith("message forward, micro-batch 0, layer 0, to attention: recorded "));
  EXPECT_THAT(found(many_, Role::stage, 2, Phase::forward),
              StartsWith("message forward, micro-batch 0, layer 2, to attention: recorded "));
  EXPECT_THAT(found(many_, Role::attention_shard, 3, Phase::forward),
              StartsWith("message forward, micro-batch 3, layer 0, from attention"));
  EXPECT_THAT(found(one_, Role::router, 0, Phase::forward),
              StartsWith("message forward, micro-batch 0, layer 1, to expert "));
  EXPECT_THAT(found(one_, Role::expert_shard, 0, Phase::forward),
              StartsWith("message forward, micro-batch 0, layer 1, from expert "));
  EXPECT_THAT(found(one_, Role::stage, 0, Phase::backward),
              StartsWith("message backward, micro-batch 0, layer 4, to router"));
  EXPECT_THAT(found(one_, Role::attention_shard, 0, Phase::backward),
              StartsWith("message backward, micro-batch 0, layer 4, from attention"));
  EXPECT_THAT(found(one_, Role::router, 1, Phase::backward),
              StartsWith("message backward, micro-batch 0, layer 2, to expert "));
  EXPECT_THAT(found(one_, Role::expert_shard, 0, Phase::backward),
              StartsWith("message backward, micro-batch 0, layer 4, from expert "));
}

TEST_F(Units, AFlippedBitOfAWeightIsFoundInItsBlock) {
  EXPECT_THAT(found(one_, Role::optimizer_shard, 0, Phase::begin),
              StartsWith("weights lm_head.weight, block 0: recorded "));
  EXPECT_THAT(found(many_, Role::optimizer_shard, 1, Phase::begin),
              StartsWith("weights model.embed_tokens.weight, block 0: recorded "));
}

TEST_F(Units, AFlippedBitOfAGradientSumIsFoundInItsBlock) {
  EXPECT_THAT(found(many_, Role::optimizer_shard, 1, Phase::prepare),
              StartsWith("gradient sum model.embed_tokens.weight, block 0: recorded "));
}

TEST_F(Units, AFlippedBitOfAMicroBatchsGradientIsFoundInItAndGoesOnIntoTheSum) {
  const std::string name = "model.layers.2.self_attn.o_proj.weight";
  const runtime::StateArena arena(kernels::parameters(recipe_.shape));
  const auto tensor = static_cast<uint32_t>(arena.index(name));
  std::atomic<bool> is_flipped = false;
  const auto flip = [&](const UnitHash& unit, const kernels::ConstTensor& payload) {
    const bool is_it = unit.kind() == UnitHash::GRADIENT && unit.tensor() == tensor &&
                       unit.micro_batch() == 3;
    if (is_it && !is_flipped.exchange(true)) {
      flip_bit(kernels::tensor(const_cast<float*>(kernels::values<float>(payload)), {1}));
    }
  };

  const auto quiet = record(many_), flipped = record(many_, {}, flip);

  EXPECT_THAT(first_difference(quiet[0], flipped[0]),
              StartsWith("gradient " + name + ", micro-batch 3: recorded "));
  EXPECT_THAT(first_difference(without_gradients(quiet[0]), without_gradients(flipped[0])),
              StartsWith("gradient sum " + name + ", block 0: recorded "));
}

TEST_F(Units, EachUseOfTheHeadHasAUnitOfItsOwn) {
  const wire::StepUnits step = record(one_).at(0);
  int main = 0, module = 0;
  for (const UnitHash& unit : step.units()) {
    if (unit.kind() != UnitHash::GRADIENT) continue;
    if (!runtime::describe(unit, step).starts_with("gradient lm_head.weight")) continue;
    ++(unit.part() == 0 ? main : module);
  }
  EXPECT_EQ(main, 4);
  EXPECT_EQ(module, 4);
}

}  // namespace
}  // namespace troupe::tests
