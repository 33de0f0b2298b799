// Supervision law among real actors: what the core decides, happens.
#include "runtime/supervision/supervisor_actor.h"

#include <gmock/gmock.h>

#include <atomic>
#include <latch>
#include <memory>

#include "tests/runtime/supervision/live_supervisor.h"

namespace troupe::runtime::tests {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

ChildSpec permanent(std::string id) { return {.id = std::move(id), .start = "child"}; }
ChildSpec supervisor(std::string id) {
  return {.id = std::move(id), .start = "inner", .type = ChildType::supervisor};
}
ChildSpec with(Shutdown shutdown, ChildSpec spec) {
  spec.shutdown = shutdown;
  return spec;
}

TEST_F(LiveSupervisor, StartsInOrderAndEndsNewestFirst) {
  begin({}, {permanent("a"), permanent("b"), permanent("c")});
  ASSERT_TRUE(has_begun());

  end_top();

  EXPECT_EQ(ended(), ExitReason::shutdown());
  EXPECT_THAT(record_.notes(),
              ElementsAre("start a", "start b", "start c", "end c", "end b", "end a"));
}

TEST_F(LiveSupervisor, ANestedSupervisorHasStartedWhenItsChildrenHave) {
  std::latch may_start(1);
  inner_["inner"] = {{}, {permanent("a"), permanent("b")}};
  starts_["b"] = [&] {
    may_start.wait();
    record_.note("b has started");
    return play("b");
  };
  begin({}, {supervisor("inner"), permanent("c")});
  ASSERT_TRUE(record_.wait_for("start b"));

  sync();  // the upper one has done all that it can do by now
  EXPECT_THAT(record_.notes(), Not(Contains("start c")));
  may_start.count_down();

  ASSERT_TRUE(has_begun());
  EXPECT_THAT(record_.notes(),
              ElementsAre("start inner", "start a", "start b", "b has started", "start c"));
}

TEST_F(LiveSupervisor, ANestedSupervisorWhoseChildDoesNotStartHasNotStarted) {
  inner_["inner"] = {{}, {permanent("a"), permanent("b")}};
  starts_["b"] = []() -> caf::actor { throw std::runtime_error("no memory"); };
  begin({}, {permanent("c"), supervisor("inner"), permanent("d")});

  EXPECT_EQ(ended().kind, ExitReason::Kind::shutdown);
  EXPECT_THAT(record_.notes(),
              ElementsAre("start c", "start inner", "start a", "start b", "end a", "end c"));
  EXPECT_THAT(logged(LogKind::start_failed), ElementsAre("b: no memory", HasSubstr("inner: ")));
}

TEST_F(LiveSupervisor, AnExceptionRestartsTheChildAlone) {
  begin({}, {permanent("a"), permanent("b")});
  ASSERT_TRUE(has_begun());

  fail("a", "boom");
  ASSERT_TRUE(record_.wait_for("start a", 2));

  EXPECT_THAT(record_.notes(), ElementsAre("start a", "start b", "end a", "start a"));
  EXPECT_THAT(logged(LogKind::exited), ElementsAre("a: failure: boom"));
  EXPECT_THAT(call(call::WhichChildren{}).children,
              ElementsAre(ChildStatus{"b", ChildState::running, 2, ChildType::worker},
                          ChildStatus{"a", ChildState::running, 3, ChildType::worker}));
}

TEST_F(LiveSupervisor, AChildThatIsDeadBeforeItIsWatchedIsStartedAgain) {
  // Shared: the second start may still be under way when the test ends.
  const auto lives = std::make_shared<std::atomic<int>>(0);
  starts_["a"] = [this, lives] {
    const caf::actor child = play("a");
    if (++*lives > 1) return child;
    stop_actor(child, caf::exit_reason::kill);
    record_.wait_for("end a");
    return child;
  };
  begin({}, {permanent("a")});

  ASSERT_TRUE(record_.wait_for("start a", 2));
  EXPECT_THAT(record_.notes(), ElementsAre("start a", "end a", "start a"));
}

TEST_F(LiveSupervisor, OneForAllEndsAllAndStartsAll) {
  begin({.strategy = Strategy::one_for_all}, {permanent("a"), permanent("b"), permanent("c")});
  ASSERT_TRUE(has_begun());

  fail("b", "boom");
  ASSERT_TRUE(record_.wait_for("start c", 2));

  EXPECT_THAT(record_.notes(),
              ElementsAre("start a", "start b", "start c", "end b", "end c", "end a",  //
                          "start a", "start b", "start c"));
}

TEST_F(LiveSupervisor, RestForOneLeavesThoseBefore) {
  begin({.strategy = Strategy::rest_for_one}, {permanent("a"), permanent("b"), permanent("c")});
  ASSERT_TRUE(has_begun());

  fail("b", "boom");
  ASSERT_TRUE(record_.wait_for("start c", 2));

  EXPECT_THAT(record_.notes(), ElementsAre("start a", "start b", "start c", "end b", "end c",
                                           "start b", "start c"));
}

TEST_F(LiveSupervisor, ThatRestartsTooOftenGivesUp) {
  begin({.intensity = 2, .period = std::chrono::seconds(1000)},
        {permanent("a"), permanent("b"), permanent("c")});
  ASSERT_TRUE(has_begun());

  for (int life = 1; life <= 3; ++life) {
    ASSERT_TRUE(record_.wait_for("start b", life));
    sync();
    fail("b", "boom " + std::to_string(life));
  }

  EXPECT_EQ(ended(), ExitReason::shutdown());
  EXPECT_THAT(record_.notes(),
              ElementsAre("start a", "start b", "start c", "end b", "start b", "end b", "start b",
                          "end b", "end c", "end a"));
  EXPECT_THAT(logged(LogKind::intensity_exceeded), ElementsAre("b"));
}

TEST_F(LiveSupervisor, OneThatGivesUpIsRestartedByTheOneAbove) {
  inner_["inner"] = {{.intensity = 0}, {permanent("a")}};
  begin({.intensity = 1}, {supervisor("inner"), permanent("c")});
  ASSERT_TRUE(has_begun());

  fail("a", "boom");
  ASSERT_TRUE(record_.wait_for("start a", 2));

  EXPECT_THAT(record_.notes(), ElementsAre("start inner", "start a", "start c", "end a",
                                           "start inner", "start a"));
}

TEST_F(LiveSupervisor, AChildThatDoesNotEndInTimeIsKilled) {
  deaf_ = {"a"};
  begin({}, {with(Shutdown::after(std::chrono::milliseconds(20)), permanent("a"))});
  ASSERT_TRUE(has_begun());

  const auto begun = std::chrono::steady_clock::now();
  const Answer answer = call(call::TerminateChild{"a"});

  EXPECT_EQ(answer.outcome, Outcome::ok);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(20));
  EXPECT_THAT(record_.notes(), ElementsAre("start a", "deaf a", "end a"));
  EXPECT_THAT(logged(LogKind::shutdown_error), ElementsAre("a: killed"));
}

TEST_F(LiveSupervisor, ABrutalKillAsksNobody) {
  deaf_ = {"a"};
  begin({}, {with(Shutdown::brutal_kill(), permanent("a"))});
  ASSERT_TRUE(has_begun());

  end_top();

  EXPECT_THAT(record_.notes(), ElementsAre("start a", "end a"));
  EXPECT_THAT(logged(LogKind::shutdown_error), IsEmpty());
}

TEST_F(LiveSupervisor, AnswersCalls) {
  begin({}, {permanent("a"), permanent("b")});

  EXPECT_EQ(call(call::CountChildren{}).counts, (ChildCounts{2, 2, 0, 2}));
  EXPECT_EQ(call(call::TerminateChild{"a"}).outcome, Outcome::ok);
  EXPECT_EQ(call(call::TerminateChild{"x"}).outcome, Outcome::not_found);
  EXPECT_EQ(call(call::CountChildren{}).counts, (ChildCounts{2, 1, 0, 2}));
  EXPECT_EQ(call(call::RestartChild{"a"}).child, 3u);
  EXPECT_EQ(call(call::RestartChild{"a"}).outcome, Outcome::running);
  EXPECT_EQ(call(call::GetSpec{"b"}).spec->id, "b");
  EXPECT_EQ(call(call::StartChild{permanent("c")}).child, 4u);
  EXPECT_THAT(call(call::WhichChildren{}).children,
              ElementsAre(ChildStatus{"c", ChildState::running, 4, ChildType::worker},
                          ChildStatus{"b", ChildState::running, 2, ChildType::worker},
                          ChildStatus{"a", ChildState::running, 3, ChildType::worker}));
  EXPECT_THAT(record_.notes(), ElementsAre("start a", "start b", "end a", "start a", "start c"));
}

TEST_F(LiveSupervisor, AStartThatThrowsIsAFailedStart) {
  starts_["x"] = []() -> caf::actor { throw std::runtime_error("no such folder"); };
  begin({}, {permanent("a")});

  const Answer answer = call(call::StartChild{permanent("x")});

  EXPECT_EQ(answer.outcome, Outcome::start_failed);
  EXPECT_EQ(answer.text, "no such folder");
  EXPECT_EQ(call(call::GetSpec{"x"}).outcome, Outcome::not_found);
}

TEST_F(LiveSupervisor, ARestartThatThrowsIsTriedAgainUntilTheIntensityIsUsed) {
  int lives = 0;
  starts_["a"] = [&] {
    if (++lives > 1) throw std::runtime_error("still locked");
    return play("a");
  };
  begin({.intensity = 4, .period = std::chrono::seconds(1000)}, {permanent("a"), permanent("b")});
  ASSERT_TRUE(has_begun());

  fail("a", "boom");

  EXPECT_EQ(ended(), ExitReason::shutdown());
  EXPECT_EQ(lives, 5);
  EXPECT_THAT(logged(LogKind::start_failed), testing::SizeIs(4));
}

TEST_F(LiveSupervisor, AStartWithNothingToRunIsNoFailure) {
  starts_["x"] = [] { return caf::actor(); };
  begin({}, {permanent("a"), permanent("x"), permanent("b")});
  ASSERT_TRUE(has_begun());

  EXPECT_EQ(call(call::CountChildren{}).counts, (ChildCounts{3, 2, 0, 3}));
  EXPECT_THAT(logged(LogKind::ignored), ElementsAre("x"));
}

// CAF's own exits wait behind what is in the mailbox; ours do not.
TEST_F(LiveSupervisor, AnExitOvertakesTenThousandWaitingCalls) {
  constexpr size_t backlog = 10000;
  std::latch is_busy(1), may_go_on(1), is_told(1);
  starts_["a"] = [&, lives = 0]() mutable {
    const caf::actor child = play("a");
    // Called last, as it is attached first: the supervisor has been told by then.
    if (++lives == 1) on_end(child, [&](const caf::error&) { is_told.count_down(); });
    return child;
  };
  hears_ = [&](const effect::Log& log) {
    if (log.kind != LogKind::restart || log.id != "x") return;
    is_busy.count_down();
    may_go_on.wait();
  };
  begin({.intensity = 2}, {permanent("a"), permanent("x")});
  ASSERT_TRUE(has_begun());
  fail("x", "boom");
  is_busy.wait();
  std::vector<decltype(send(call::WhichChildren{}))> requests;
  for (size_t i = 0; i < backlog; ++i) requests.push_back(send(call::WhichChildren{}));

  fail("a", "boom");
  is_told.wait();
  may_go_on.count_down();

  size_t before = 0;
  for (auto& request : requests) before += answer_of(request).children.back().incarnation == 1;
  EXPECT_LE(before, 20u) << "calls were answered before the end of a child was dealt with";
  EXPECT_EQ(record_.notes().back(), "start a");
}

TEST_F(LiveSupervisor, AStopOvertakesTenThousandMessagesOfTheChild) {
  std::latch begun(1), may_end(1);
  std::atomic<int> taken = 0;
  Child::acts = {[&] {
                   begun.count_down();
                   may_end.wait();
                 },
                 [&] { ++taken; }};
  begin({}, {permanent("a")});
  ASSERT_TRUE(has_begun());
  tell(child("a"), uint64_t{0});
  begun.wait();
  for (int i = 0; i < 10000; ++i) tell(child("a"), uint64_t{1});

  auto stopped = send(call::TerminateChild{"a"});
  sync();
  may_end.count_down();

  EXPECT_EQ(answer_of(stopped).outcome, Outcome::ok);
  EXPECT_LE(taken, 20);
}

TEST_F(LiveSupervisor, MoreCallsThanTheCreditAreRefusedAtOnce) {
  constexpr size_t credit = 8;
  std::latch may_start(1);
  inner_["inner"] = {{}, {permanent("a")}};
  starts_["a"] = [&] {
    may_start.wait();
    return play("a");
  };
  begin({.call_credit = credit}, {supervisor("inner")});
  std::vector<decltype(send(call::CountChildren{}))> waiting, refused;
  for (size_t i = 0; i < credit; ++i) waiting.push_back(send(call::CountChildren{}));
  for (size_t i = 0; i < credit; ++i) refused.push_back(send(call::CountChildren{}));

  for (auto& request : refused) {
    const Answer answer = answer_of(request);
    EXPECT_EQ(answer.outcome, Outcome::overloaded);
    EXPECT_EQ(answer.text, "8 calls wait for the supervisor already");
  }
  may_start.count_down();
  for (auto& request : waiting) EXPECT_EQ(answer_of(request).counts.active, 1u);
}

TEST_F(LiveSupervisor, CallsThatWaitWhileItEndsAreAnswered) {
  deaf_ = {"a"};
  begin({}, {with(Shutdown::infinity(), permanent("a"))});
  ASSERT_TRUE(has_begun());
  stop();
  ASSERT_TRUE(record_.wait_for("deaf a"));
  auto waiting = send(call::CountChildren{});
  sync();

  stop_actor(child("a"), caf::exit_reason::kill);

  EXPECT_EQ(answer_of(waiting).outcome, Outcome::ended);
  EXPECT_EQ(ended(), ExitReason::shutdown());
}

TEST_F(LiveSupervisor, ACallToOneThatHasEndedIsAnError) {
  begin({}, {permanent("a")});
  end_top();

  caf::error error;
  send(call::CountChildren{})
      .receive([](const SupervisorAnswer&) {}, [&](const caf::error& e) { error = e; });

  EXPECT_EQ(error, caf::sec::request_receiver_down);
}

}  // namespace
}  // namespace troupe::runtime::tests
