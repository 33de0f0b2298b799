// Commit law: nothing of a step that has read a damaged state is committed, and who computes something
// else than its buddy ends the run. Supervision law: one that is lost is waited for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/control/run_core.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using testing::HasSubstr;

template <class T>
const T* first(const std::vector<Wanted>& all) {
  for (const Wanted& one : all) {
    if (const T* found = std::get_if<T>(&one)) return found;
  }
  return nullptr;
}

/// A run with one crew and one block, in its first step.
class RunDamage : public testing::Test {
 protected:
  /// The message that asks for an answer; its generation stands in it.
  template <class T>
  T ask(const Heard& heard) {
    const std::vector<Wanted> all = core_.hear(heard);
    const T* found = first<T>(all);
    EXPECT_NE(found, nullptr);
    return found ? *found : T{};
  }
  Generation begin() {
    const auto standing = ask<wanted::Standing>(heard::Run{});
    const auto compute =
        ask<wanted::Compute>(heard::Standing{standing.generation, std::nullopt, false});
    return ask<wanted::Prepare>(heard::Collected{compute.generation, {}}).generation;
  }
  /// What follows an apply with these hashes at the owner and at the buddy.
  std::vector<Wanted> apply(uint64_t own, uint64_t kept) {
    wire::Prepared prepared;
    prepared.add_blocks(0);
    prepared.add_squared_norms(1);
    const auto append = ask<wanted::Append>(heard::Prepared{begin(), prepared});
    const auto apply = ask<wanted::Apply>(heard::Durable{append.generation});
    wire::Applied applied;
    applied.add_blocks(0);
    applied.add_hashes(own);
    applied.add_kept_blocks(0);
    applied.add_kept_hashes(kept);
    return core_.hear(heard::Applied{apply.generation, applied});
  }

  Recipe recipe_ = small_recipe();
  RunCore core_{{.recipe = &recipe_,
                 .options = {.hash_every = 1, .eval_every = 0, .checkpoint_every = 0},
                 .bias = {std::vector<float>(static_cast<size_t>(recipe_.moe_layers() * recipe_.shape.experts)), 0},
                 .from = std::make_shared<const ResumePoint>(),
                 .blocks = 1,
                 .state_hash = [](const wire::StepRecord&, std::span<const uint64_t> hashes) {
                   return hashes[0];
                 }}};
};

TEST_F(RunDamage, AStepThatHasReadADamagedStateIsBegunAgain) {
  const auto all = core_.hear(heard::Damaged{begin(), "memory has changed", true});

  ASSERT_NE(first<wanted::Note>(all), nullptr);
  EXPECT_EQ(first<wanted::Note>(all)->text, "memory has changed");
  EXPECT_NE(first<wanted::Standing>(all), nullptr);
  EXPECT_EQ(first<wanted::Append>(all), nullptr);
}

TEST_F(RunDamage, WithoutCopiesTheRunEnds) {
  const auto all = core_.hear(heard::Damaged{begin(), "memory has changed", false});

  ASSERT_NE(first<wanted::End>(all), nullptr);
  EXPECT_EQ(first<wanted::End>(all)->code, runtime::Errc::damaged);
}

TEST_F(RunDamage, DamageOfAnotherAttemptIsNoNews) {
  const Generation generation = begin();
  core_.hear(heard::Damaged{generation, "memory has changed", true});

  EXPECT_TRUE(core_.hear(heard::Damaged{generation, "again", false}).empty());
}

TEST_F(RunDamage, EqualCopiesGoOn) {
  const auto all = apply(7, 7);

  EXPECT_NE(first<wanted::Announce>(all), nullptr);
  EXPECT_EQ(first<wanted::End>(all), nullptr);
}

TEST_F(RunDamage, AnOwnerAndABuddyThatHoldDifferentBlocksEndTheRun) {
  const auto all = apply(7, 8);

  ASSERT_NE(first<wanted::End>(all), nullptr);
  EXPECT_EQ(first<wanted::End>(all)->code, runtime::Errc::damaged);
  EXPECT_THAT(first<wanted::End>(all)->text,
              HasSubstr("block 0 of state 1 has hash 0000000000000007 at its owner and "
                        "0000000000000008 at its buddy"));
  EXPECT_EQ(first<wanted::Announce>(all), nullptr);
}

/// The core of a run of two processes, of which one may be missing.
class RunWithoutAProcess : public testing::Test {
 protected:
  RunWithoutAProcess() {
    recipe_ = small_recipe();
    auto from = std::make_shared<ResumePoint>();
    core_.emplace(RunCore::Args{.recipe = &recipe_,
                                .options = {.hash_every = 1, .eval_every = 0, .checkpoint_every = 0},
                                .bias = {},
                                .from = from,
                                .epochs = 0,
                                .crews = 2,
                                .blocks = 1,
                                .has_checkpointer = false,
                                .has_evaluator = false,
                                .lacks_process = [this] { return is_missing_; },
                                .state_hash = [](const auto&, auto) { return uint64_t{0}; }});
    hear(heard::Run{});
    begin_again();
  }

  /// The last thing that is wanted then.
  void hear(const Heard& heard) {
    const auto wanted = core_->hear(heard);
    if (!wanted.empty()) last_ = wanted.back();
  }
  void begin_again() {
    ASSERT_TRUE(std::holds_alternative<wanted::Standing>(last_));
    hear(heard::Standing{std::get<wanted::Standing>(last_).generation, std::nullopt, false});
    ASSERT_TRUE(std::holds_alternative<wanted::Compute>(last_));
  }
  void deadline_passes() {
    hear(heard::Failed{std::get<wanted::Compute>(last_).generation, NoAnswer::late, "late"});
  }

  Recipe recipe_;
  bool is_missing_ = false;
  std::optional<RunCore> core_;
  Wanted last_;
};

// A process that is lost is waited for, however long it takes: without it no beginning can succeed.
TEST_F(RunWithoutAProcess, TheRunWaitsForItAsLongAsItTakes) {
  is_missing_ = true;
  deadline_passes();
  for (int i = 0; i < 10 * most_recoveries; ++i) {
    ASSERT_TRUE(std::holds_alternative<wanted::Wait>(last_)) << "beginning " << i;
    if (i % 3 == 0) hear(heard::Restarted{Role::stage, "killed"});
    hear(heard::TimePassed{std::get<wanted::Wait>(last_).generation});
  }

  is_missing_ = false;
  hear(heard::Restarted{Role::crew, "another has come"});

  begin_again();
}

// What an attempt has asked for may be answered when it is long given up: it must not go on from there, with
// the epoch that it had.
TEST_F(RunWithoutAProcess, WhatIsGivenUpIsUnderWayNoMore) {
  const Generation given_up = std::get<wanted::Compute>(last_).generation;
  EXPECT_TRUE(core_->is_under_way(given_up));
  deadline_passes();
  EXPECT_FALSE(core_->is_under_way(given_up));
  begin_again();

  EXPECT_FALSE(core_->is_under_way(given_up));
  EXPECT_TRUE(core_->is_under_way(std::get<wanted::Compute>(last_).generation));
}

TEST_F(RunWithoutAProcess, BeginningsWithEverybodyAreCounted) {
  for (int i = 0; i < most_recoveries; ++i) {
    deadline_passes();
    begin_again();
  }
  deadline_passes();

  ASSERT_TRUE(std::holds_alternative<wanted::End>(last_));
  EXPECT_EQ(std::get<wanted::End>(last_).code, runtime::Errc::no_progress);
}

}  // namespace
}  // namespace troupe::tests
