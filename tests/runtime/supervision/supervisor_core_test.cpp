// The scenarios of an OTP supervisor, numbered as in the conformance list they come from.
// Numbers 3 and 17, 21, 23 stand in child_spec_test.cpp and supervisor_core_tree_test.cpp.
#include "runtime/supervision/supervisor_core.h"

#include "tests/runtime/supervision/stage_play.h"

namespace troupe::runtime::tests {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const ExitReason crash = ExitReason::failure("crash");

// 1
TEST(Supervisor, WithoutChildrenEndsAsItIsTold) {
  StagePlay play({}, {});
  EXPECT_EQ(play.ask(call::CountChildren{})->counts, ChildCounts{});

  play.tell(event::Stop{ExitReason::shutdown()});

  EXPECT_EQ(play.ended(), ExitReason::shutdown());
}

// 2
TEST(Supervisor, KeepsTheSpecificationOfAnIgnoredChildUnlessItIsTemporary) {
  for (const bool is_temporary : {false, true}) {
    StagePlay play({}, {});
    play.lives["ignored"].start = Life::Start::ignore;

    const auto ignored =
        play.ask(call::StartChild{is_temporary ? temporary("ignored") : permanent("ignored")});
    play.ask(call::StartChild{permanent("good")});

    EXPECT_EQ(ignored->outcome, Outcome::ok);
    EXPECT_EQ(ignored->child, 0u);
    const auto children = play.ask(call::WhichChildren{})->children;
    EXPECT_EQ(children.front().id, "good");
    EXPECT_EQ(children.size(), is_temporary ? 1u : 2u);
    const ChildCounts wanted{.specs = children.size(), .active = 1, .workers = children.size()};
    EXPECT_EQ(play.ask(call::CountChildren{})->counts, wanted);
  }
}

// 3, the part that asks a supervisor
TEST(Supervisor, ReadsSpecificationsBackWithTheirDefaults) {
  StagePlay play({}, {permanent("c")});

  EXPECT_EQ(play.ask(call::GetSpec{"c"})->spec->shutdown, Shutdown::after(milliseconds(5000)));
  EXPECT_EQ(play.outcome(call::GetSpec{"nobody"}), Outcome::not_found);
  EXPECT_EQ(play.outcome(call::StartChild{{.id = "", .start = "s"}}), Outcome::bad_spec);
}

// 4
TEST(Supervisor, StopsNewestFirstAndKillsWhoDoesNotEndInTime) {
  ChildSpec first = permanent("c1"), second = permanent("c2");
  first.shutdown = second.shutdown = Shutdown::after(milliseconds(1000));
  StagePlay play({.intensity = 2}, {first, second});
  play.lives["c2"].shutdown_takes = seconds(200);
  play.kill("c2");  // its next life sleeps
  play.moves();

  play.tell(event::Stop{ExitReason::shutdown()});
  play.run_for(milliseconds(999));
  EXPECT_THAT(play.moves(), ElementsAre("stop c2"));
  EXPECT_FALSE(play.ended());
  play.run_for(milliseconds(1));

  EXPECT_THAT(play.moves(), ElementsAre("kill c2", "stop c1"));
  EXPECT_EQ(play.ended(), ExitReason::shutdown());
  EXPECT_THAT(play.log(LogKind::shutdown_error), ElementsAre("killed"));
}

// 5
TEST(Supervisor, KillsABrutalChildAtOnce) {
  ChildSpec spec = permanent("c");
  spec.shutdown = Shutdown::brutal_kill();
  StagePlay play({}, {spec});
  play.moves();

  play.tell(event::Stop{ExitReason::shutdown()});

  EXPECT_THAT(play.moves(), ElementsAre("kill c"));
  EXPECT_TRUE(play.ended());
  EXPECT_EQ(play.logged(LogKind::shutdown_error), 0u);
}

// 6
TEST(Supervisor, RestartsByTypeAndReason) {
  const std::vector<ExitReason> reasons{ExitReason::normal(), ExitReason::shutdown(),
                                        ExitReason::shutdown("x"), crash};
  for (const Restart type : {Restart::permanent, Restart::transient, Restart::temporary}) {
    for (const ExitReason& reason : reasons) {
      SCOPED_TRACE(to_string(reason) + " of type " + std::to_string(static_cast<int>(type)));
      StagePlay play({}, {{.id = "c", .start = "child", .restart = type}});
      const Incarnation before = play.living("c");

      play.end("c", reason);

      const bool restarts =
          type == Restart::permanent || (type == Restart::transient && reason == crash);
      EXPECT_EQ(play.knows("c"), type != Restart::temporary);
      EXPECT_EQ(play.living("c") > before, restarts);
      EXPECT_FALSE(play.ended());
      const Outcome by_hand = play.outcome(call::RestartChild{"c"});
      EXPECT_EQ(by_hand, type == Restart::temporary ? Outcome::not_found
                         : restarts                 ? Outcome::running
                                                    : Outcome::ok);
      EXPECT_EQ(play.living("c") != 0, type != Restart::temporary);
    }
  }
}

// 7
TEST(OneForOne, RestartsTheFailedChildAlone) {
  StagePlay play({.intensity = 2, .period = seconds(3600)}, {permanent("c1"), permanent("c2")});
  const Incarnation c2 = play.living("c2");

  play.kill("c1");
  EXPECT_EQ(play.living("c2"), c2);
  play.kill("c2");
  EXPECT_FALSE(play.ended());
  play.kill("c1");

  EXPECT_EQ(play.ended(), ExitReason::shutdown());
}

// 8
TEST(OneForOne, GivesUpAfterFailedStarts) {
  StagePlay play({.intensity = 4, .period = seconds(3600)}, {permanent("c1"), permanent("c2")});
  play.lives["c1"].start = Life::Start::fail;
  play.moves();

  play.kill("c1");

  EXPECT_THAT(play.moves(),
              ElementsAre("start c1", "start c1", "start c1", "start c1", "stop c2"));
  EXPECT_EQ(play.ended(), ExitReason::shutdown());
}

// 9
TEST(OneForAll, RestartsAll) {
  StagePlay play({.strategy = Strategy::one_for_all, .intensity = 2, .period = seconds(3600)},
                 {permanent("c1"), permanent("c2")});
  const Incarnation c1 = play.living("c1"), c2 = play.living("c2");
  play.moves();

  play.kill("c1");

  EXPECT_THAT(play.moves(), ElementsAre("stop c2", "start c1", "start c2"));
  EXPECT_GT(play.living("c1"), c1);
  EXPECT_GT(play.living("c2"), c2);
  play.kill("c2");
  EXPECT_FALSE(play.ended());
  play.kill("c1");
  EXPECT_EQ(play.ended(), ExitReason::shutdown());
}

// 10
TEST(OneForAll, BeginsAnewWhenAStartFails) {
  StagePlay play({.strategy = Strategy::one_for_all, .intensity = 2, .period = seconds(3600)},
                 {permanent("c1"), permanent("c2")});
  int c2_starts = 0;
  play.life_of = [&](const effect::Start& wanted) {
    const bool fails = wanted.id == "c2" && ++c2_starts == 1;
    return Life{.start = fails ? Life::Start::fail : Life::Start::ok};
  };
  play.moves();

  play.kill("c1");

  EXPECT_THAT(play.moves(),
              ElementsAre("stop c2", "start c1", "start c2", "stop c1", "start c1", "start c2"));
  EXPECT_FALSE(play.ended());
}

// 11
TEST(RestForOne, RestartsTheFailedChildAndThoseAfterIt) {
  StagePlay play({.strategy = Strategy::rest_for_one, .intensity = 2, .period = seconds(3600)},
                 {permanent("c1"), permanent("c2"), permanent("c3")});
  const Incarnation c1 = play.living("c1");
  play.moves();

  play.kill("c2");

  EXPECT_THAT(play.moves(), ElementsAre("stop c3", "start c2", "start c3"));
  EXPECT_EQ(play.living("c1"), c1);
}

// 12
TEST(RestForOne, TriesAgainFromWhereAStartFailed) {
  StagePlay play({.strategy = Strategy::rest_for_one, .intensity = 2, .period = seconds(3600)},
                 {permanent("c1"), permanent("c2")});
  int c2_starts = 0;
  play.life_of = [&](const effect::Start& wanted) {
    const bool fails = wanted.id == "c2" && ++c2_starts == 1;
    return Life{.start = fails ? Life::Start::fail : Life::Start::ok};
  };
  play.moves();

  play.kill("c1");

  EXPECT_THAT(play.moves(), ElementsAre("stop c2", "start c1", "start c2", "start c2"));
  EXPECT_FALSE(play.ended());
}

// 13
TEST(Supervisor, DropsATemporaryBystanderOfARestart) {
  for (const Strategy strategy : {Strategy::one_for_all, Strategy::rest_for_one}) {
    StagePlay play({.strategy = strategy}, {permanent("c1"), temporary("bystander")});
    play.moves();

    play.end("c1", ExitReason::normal());

    EXPECT_THAT(play.moves(), ElementsAre("stop bystander", "start c1"));
    EXPECT_FALSE(play.knows("bystander"));
    EXPECT_FALSE(play.ended());
  }
}

// 14
TEST(Supervisor, SurvivesFailuresThatAreFarEnoughApart) {
  const auto survives = [](milliseconds apart) {
    StagePlay play({.intensity = 1, .period = seconds(1)}, {permanent("c")});
    for (int i = 0; i < 4 && !play.ended(); ++i) {
      play.kill("c");
      play.run_for(apart);
    }
    return !play.ended();
  };

  EXPECT_TRUE(survives(milliseconds(2100)));
  EXPECT_FALSE(survives(milliseconds(900)));
}

// 15
TEST(Supervisor, ServesCallsBetweenAttemptsToRestart) {
  StagePlay play({.intensity = 8, .period = seconds(10)}, {permanent("c")});
  play.lives["c"] = {.start = Life::Start::fail, .start_takes = milliseconds(100)};
  play.kill("c");  // an attempt every 100 ms from here on
  const auto ask = [&](Call call) {
    EXPECT_FALSE(play.ask(std::move(call))) << "the supervisor waits for the start";
    play.run_for(milliseconds(100));
    return play.answer(play.last_request()).value();
  };

  EXPECT_EQ(ask(call::StartChild{permanent("c")}).outcome, Outcome::already_present);
  EXPECT_EQ(ask(call::RestartChild{"c"}).outcome, Outcome::restarting);
  EXPECT_EQ(ask(call::DeleteChild{"c"}).outcome, Outcome::restarting);
  EXPECT_EQ(ask(call::WhichChildren{}).children.front().state, ChildState::restarting);
  EXPECT_EQ(ask(call::CountChildren{}).counts, (ChildCounts{.specs = 1, .workers = 1}));
  EXPECT_EQ(ask(call::TerminateChild{"c"}).outcome, Outcome::ok);
  play.run_for(seconds(1));
  play.lives["c"] = {};
  EXPECT_EQ(play.outcome(call::RestartChild{"c"}), Outcome::ok);
  EXPECT_FALSE(play.ended());
}

// 15
TEST(Supervisor, EndsInTheMiddleOfARestartLoop) {
  StagePlay play({.intensity = 8, .period = seconds(10)}, {permanent("c")});
  play.lives["c"] = {.start = Life::Start::fail, .start_takes = milliseconds(100)};
  play.kill("c");
  play.run_for(milliseconds(150));

  play.tell(event::Stop{ExitReason::shutdown()});
  play.run_for(milliseconds(50));

  EXPECT_EQ(play.ended(), ExitReason::shutdown());
}

// 16
TEST(Supervisor, IsNotHeldUpByAChildThatDoesNotListen) {
  ChildSpec spec = permanent("c");
  spec.shutdown = Shutdown::after(milliseconds(1000));
  StagePlay play({}, {permanent("other")});
  play.lives["c"].shutdown_takes.reset();
  play.ask(call::StartChild{spec});

  EXPECT_FALSE(play.ask(call::TerminateChild{"c"}));
  const RequestId terminate = play.last_request();
  EXPECT_FALSE(play.ask(call::CountChildren{})) << "one thing at a time";
  play.run_for(milliseconds(1000));

  EXPECT_EQ(play.answer(terminate)->outcome, Outcome::ok);
  EXPECT_EQ(play.answer(terminate + 1)->counts.active, 1u);
}

SupervisorFlags simple() { return {.strategy = Strategy::simple_one_for_one}; }

// 18
TEST(SimpleOneForOne, StopsAllAtOnceWithOneDeadline) {
  ChildSpec spec = permanent("c");
  spec.shutdown = Shutdown::after(seconds(2));
  StagePlay play(simple(), {spec});
  for (const int sleep : {1, 1, 5}) {
    play.lives["c"].shutdown_takes = seconds(sleep);
    play.ask(call::StartDynamic{"sleeps"});
  }
  const Instant before = play.now();
  play.moves();

  play.tell(event::Stop{ExitReason::shutdown()});
  play.run_for(milliseconds(1999));
  EXPECT_THAT(play.moves(), ElementsAre("stop c", "stop c", "stop c"));
  EXPECT_FALSE(play.ended());
  play.run_for(milliseconds(1));

  EXPECT_TRUE(play.ended());
  EXPECT_EQ(play.now() - before, seconds(2));
  EXPECT_THAT(play.moves(), ElementsAre("kill c"));
  EXPECT_THAT(play.log(LogKind::shutdown_error), ElementsAre("1 children: killed"));
}

// 19
TEST(SimpleOneForOne, CountsThousands) {
  StagePlay play(simple(), {temporary("c")});
  for (const size_t wanted : {1000u, 2000u}) {
    for (int i = 0; i < 1000; ++i) play.ask(call::StartDynamic{std::to_string(i)});
    EXPECT_EQ(play.ask(call::CountChildren{})->counts,
              (ChildCounts{.specs = 1, .active = wanted, .workers = wanted}));
  }

  for (const ChildStatus& child : play.core().which_children()) {
    play.end(child.incarnation, ExitReason::killed());
  }

  EXPECT_EQ(play.ask(call::CountChildren{})->counts, (ChildCounts{.specs = 1}));
  EXPECT_FALSE(play.ended());
}

// 20
TEST(Supervisor, ChangesSpecificationsWhileChildrenRun) {
  StagePlay play({}, {permanent("c1"), permanent("c2")});
  const Incarnation c1 = play.living("c1"), c2 = play.living("c2");
  ChildSpec changed = permanent("c1");
  changed.shutdown = Shutdown::after(milliseconds(7));

  EXPECT_EQ(play.outcome(call::ChangeSpecs{{changed, permanent("c3")}}), Outcome::ok);

  EXPECT_EQ(play.ask(call::GetSpec{"c1"})->spec->shutdown, Shutdown::after(milliseconds(7)));
  EXPECT_EQ(play.living("c1"), c1);
  EXPECT_EQ(play.living("c2"), c2);
  EXPECT_TRUE(play.knows("c3"));
  EXPECT_EQ(play.living("c3"), 0u);
  const auto before = play.core().which_children();
  EXPECT_EQ(play.outcome(call::ChangeSpecs{{changed, changed}}), Outcome::bad_spec);
  EXPECT_EQ(play.core().which_children(), before);
  play.kill("c1");
  EXPECT_GT(play.living("c1"), c1) << "it is still watched";
}

// 22
TEST(AutoShutdown, AnySignificantChildThatEndsInOrderEndsTheSupervisor) {
  ChildSpec spec = transient("c");
  spec.significant = true;
  const SupervisorFlags flags{.auto_shutdown = AutoShutdown::any_significant};

  StagePlay in_order(flags, {permanent("other"), spec});
  in_order.end("c", ExitReason::normal());
  EXPECT_EQ(in_order.ended(), ExitReason::shutdown());

  StagePlay crashed(flags, {permanent("other"), spec});
  crashed.end("c", crash);
  EXPECT_FALSE(crashed.ended());
  EXPECT_NE(crashed.living("c"), 0u);

  StagePlay terminated(flags, {permanent("other"), spec});
  terminated.ask(call::TerminateChild{"c"});
  EXPECT_FALSE(terminated.ended()) << "it did not end by itself";
}

}  // namespace
}  // namespace troupe::runtime::tests
