// What the scenarios of OTP leave open, and what OTP lacks.
#include "runtime/supervision/supervisor_core.h"

#include "tests/runtime/supervision/stage_play.h"

namespace troupe::runtime::tests {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const ExitReason crash = ExitReason::failure("crash");

TEST(Supervisor, WaitsLongerAndLongerBeforeItStartsAFailingChild) {
  SupervisorFlags flags{.intensity = 100, .period = seconds(3600)};
  flags.backoff = BackoffBounds{seconds(3), seconds(30)};
  StagePlay play(flags, {permanent("c")});
  play.lives["c"].start = Life::Start::fail;
  play.moves();
  std::vector<int64_t> waits;
  Instant last = play.now();

  play.kill("c");
  while (waits.size() < 6) {
    play.run_for(milliseconds(1000));
    if (play.moves().empty()) continue;
    waits.push_back(std::chrono::duration_cast<seconds>(play.now() - last).count());
    last = play.now();
  }

  EXPECT_THAT(waits, ElementsAre(3, 6, 12, 24, 30, 30));
}

TEST(Supervisor, ForgetsFailuresThatAreLongAgo) {
  SupervisorFlags flags{.intensity = 100, .period = seconds(3600)};
  flags.backoff = BackoffBounds{seconds(3), seconds(30)};
  StagePlay play(flags, {permanent("c")});
  play.kill("c");
  play.run_for(seconds(3));
  play.kill("c");
  play.run_for(seconds(6));
  ASSERT_NE(play.living("c"), 0u);

  play.run_for(milliseconds(16'500));
  play.kill("c");
  play.run_for(seconds(3));

  EXPECT_NE(play.living("c"), 0u);
}

// Law 6: a late down of an old incarnation.
TEST(Supervisor, DropsTheDownOfALifeThatIsOver) {
  StagePlay play({}, {permanent("c")});
  const Incarnation old = play.living("c");
  play.kill("c");
  const Incarnation now = play.living("c");

  EXPECT_THAT(play.core().handle(play.now(), event::Exited{old, crash}), IsEmpty());

  EXPECT_EQ(play.living("c"), now);
}

TEST(Supervisor, DropsTheTimerOfAChildThatWasTakenOutOfItsLoop) {
  SupervisorFlags flags{.intensity = 3, .period = seconds(3600)};
  flags.backoff = BackoffBounds{seconds(3), seconds(30)};
  StagePlay play(flags, {permanent("c")});
  play.kill("c");
  play.outcome(call::TerminateChild{"c"});
  play.moves();

  play.run_for(seconds(3));

  EXPECT_THAT(play.moves(), IsEmpty());
}

TEST(Supervisor, TakesAnEndDuringTheStartForAFailedStart) {
  StagePlay play({}, {});
  play.lives["c"] = {.start_takes = seconds(10)};
  ASSERT_FALSE(play.ask(call::StartChild{permanent("c")}));

  play.end(1, crash);

  EXPECT_EQ(play.answer(play.last_request())->outcome, Outcome::start_failed);
  EXPECT_FALSE(play.knows("c"));
  play.run_for(seconds(10));
  EXPECT_FALSE(play.knows("c")) << "its late answer counts for nothing";
}

TEST(Supervisor, DoesNotStopAChildWhoseEndItHasHeardOf) {
  StagePlay play({.strategy = Strategy::one_for_all, .intensity = 1, .period = seconds(3600)},
                 {permanent("c1"), permanent("c2")});
  ChildSpec c3 = permanent("c3");
  play.lives["c3"].shutdown_takes = seconds(1);
  play.ask(call::StartChild{c3});
  play.moves();
  play.kill("c1");  // c3 is asked to stop, and takes a second
  play.kill("c2");  // waits, and is found when its turn comes
  play.run_for(seconds(1));

  EXPECT_THAT(play.moves(), ElementsAre("stop c3", "start c1", "start c2", "start c3"));
  EXPECT_FALSE(play.ended()) << "one round, whatever ended";
}

TEST(Supervisor, ThatCannotBeginStopsWhatItHasStarted) {
  SupervisorCore core({}, {permanent("c1"), permanent("c2")});
  World world([](const effect::Start& wanted) {
    return Life{.start = wanted.id == "c2" ? Life::Start::fail : Life::Start::ok};
  });
  std::optional<ExitReason> ended;
  world.at(Instant{0}, event::Begin{});
  while (auto event = world.next()) {
    for (const Effect& effect : core.handle(world.now(), *event)) {
      world.play(effect);
      if (const auto* end = std::get_if<effect::End>(&effect)) ended = end->reason;
    }
  }

  EXPECT_EQ(ended, ExitReason::shutdown("child c2 failed to start: no start"));
  EXPECT_EQ(world.living(), 0u);
}

TEST(AutoShutdown, WaitsForAllSignificantChildren) {
  ChildSpec first = temporary("c1"), second = transient("c2");
  first.significant = second.significant = true;
  StagePlay play({.auto_shutdown = AutoShutdown::all_significant},
                 {first, second, permanent("other")});

  play.end("c1", crash);
  EXPECT_FALSE(play.ended());
  play.end("c2", ExitReason::normal());

  EXPECT_EQ(play.ended(), ExitReason::shutdown());
}

TEST(AutoShutdown, CountsAChildBetweenTwoAttemptsAmongTheRemaining) {
  ChildSpec first = transient("c1"), second = transient("c2");
  first.significant = second.significant = true;
  SupervisorFlags flags{.intensity = 3, .auto_shutdown = AutoShutdown::all_significant};
  flags.backoff = BackoffBounds{seconds(3), seconds(30)};
  StagePlay play(flags, {first, second});

  play.end("c1", crash);
  play.end("c2", ExitReason::normal());

  EXPECT_FALSE(play.ended());
  play.run_for(seconds(3));
  EXPECT_NE(play.living("c1"), 0u);
}

// Law 6: what others fill has a limit, and every request ends.
TEST(Supervisor, RefusesCallsBeyondItsCreditAndAnswersAllWhenItEnds) {
  StagePlay play({.call_credit = 2}, {permanent("c")});
  play.lives["slow"].start_takes = seconds(10);
  play.ask(call::StartChild{permanent("slow")});
  EXPECT_FALSE(play.ask(call::CountChildren{}));
  EXPECT_FALSE(play.ask(call::CountChildren{}));
  EXPECT_EQ(play.outcome(call::CountChildren{}), Outcome::overloaded);
  const RequestId last = play.last_request();

  play.tell(event::Stop{ExitReason::shutdown()});
  play.run_for(seconds(10));

  for (RequestId request = 1; request <= last; ++request) EXPECT_TRUE(play.answer(request));
  EXPECT_TRUE(play.ended());
  EXPECT_EQ(play.outcome(call::CountChildren{}), Outcome::ended);
}

TEST(Supervisor, AnswersCallsThatWaitBehindItsEnd) {
  ChildSpec spec = permanent("c");
  StagePlay play({}, {spec});
  play.lives["slow"].shutdown_takes = seconds(1);
  play.ask(call::StartChild{permanent("slow")});
  play.tell(event::Stop{ExitReason::shutdown()});

  ASSERT_FALSE(play.ask(call::RestartChild{"c"}));
  play.run_for(seconds(1));

  EXPECT_EQ(play.answer(play.last_request())->outcome, Outcome::ended);
}

TEST(SimpleOneForOne, RestartsWithTheChildsOwnArgumentAndTerminatesByIncarnation) {
  StagePlay play({.strategy = Strategy::simple_one_for_one}, {permanent("c")});
  std::vector<std::string> arguments;
  play.life_of = [&](const effect::Start& wanted) {
    arguments.push_back(wanted.argument);
    return Life{};
  };
  const Incarnation first = play.ask(call::StartDynamic{"one"})->child;
  play.ask(call::StartDynamic{"two"});

  play.end(first, crash);

  EXPECT_THAT(arguments, ElementsAre("one", "two", "one"));
  const Incarnation again = play.ask(call::WhichChildren{})->children.back().incarnation;
  EXPECT_EQ(play.outcome(call::TerminateDynamic{first}), Outcome::not_found);
  EXPECT_EQ(play.outcome(call::TerminateDynamic{again}), Outcome::ok);
  EXPECT_EQ(play.ask(call::CountChildren{})->counts.active, 1u);
  EXPECT_EQ(play.outcome(call::TerminateChild{"c"}), Outcome::simple_one_for_one);
}

}  // namespace
}  // namespace troupe::runtime::tests
