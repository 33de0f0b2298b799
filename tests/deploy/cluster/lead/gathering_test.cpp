// Who has a part in a run that goes on with other processes, over real sockets.
#include "deploy/cluster/lead/gathering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <numeric>

#include "runtime/cluster/cluster_error.h"
#include "tests/deploy/cluster/lead/held_part.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::within;
using testing::ElementsAre;

class GatheringTest : public testing::Test {
 protected:
  wire::NodeFacts facts(const wire::HeldPart& part, bool is_at_rest = true) const {
    wire::NodeFacts facts = own_facts(false);
    facts.set_held_run(at_.token);
    facts.set_held_state(7);
    facts.set_is_at_rest(is_at_rest);
    facts.set_held_process(part.process());
    facts.set_held_processes(part.processes());
    facts.set_held_buddy_stride(part.buddy_stride());
    *facts.mutable_also_held() = part.also();
    return facts;
  }

  /// Comes, and, if it is put off, again as `then`. How often it was.
  std::future<int> node(const wire::NodeFacts& first, const wire::NodeFacts& then) {
    return std::async(std::launch::async, [this, first, then] {
      for (int times = 0;; ++times) {
        auto socket = runtime::FrameSocket::connect(at_.listener.endpoint(), within(10s));
        try {
          static_cast<void>(runtime::join(socket, at_.secret, times == 0 ? first : then, within(10s)));
        } catch (const runtime::ComeAgain&) {
          continue;
        } catch (const runtime::ClusterError&) {
          return times;  // the leader of this test is gone without a word
        }
      }
    });
  }
  std::future<int> node(const wire::NodeFacts& facts) { return node(facts, facts); }

  /// The run stands at state 7; process 0 was one of four.
  Regrouping to(int processes, int stayers) const {
    return {.processes = processes, .stayers = stayers, .leaving = {}, .before = 4, .state = 7, .own = part(0, 4),
            .have_all = [](const auto&) { return true; },
            .choose = [](const auto& parts) {
              std::vector<int> all(parts.size());
              std::iota(all.begin(), all.end(), 0);
              return all;
            }};
  }

  /// What those in it held, by process and behind them those that leave.
  std::vector<std::string> held_in(const Gathering& gathering) {
    std::vector<std::string> all;
    for (const wire::HeldPart& one : gathering.regroup()->held()) {
      std::string text = std::to_string(one.process()) + "/" + std::to_string(one.processes());
      for (const wire::HeldPart& other : one.also()) {
        text += " and " + std::to_string(other.process()) + "/" + std::to_string(other.processes());
      }
      all.push_back(text);
    }
    return all;
  }

  MeetingPoint at_{{}, ""};
  const NodeProcessesPtr processes_ = std::make_shared<NodeProcesses>();
};

// Commit law: what a node got before a change failed is not lost with it.
TEST_F(GatheringTest, PutsOffANodeThatHasActorsUntilItHasComeToRest) {
  wire::HeldPart both = part(1, 3);
  *both.add_also() = part(2, 4);
  auto with_actors = node(facts(part(1, 3), false), facts(both)), still = node(facts(part(3, 4)));

  auto gathering = gather_others(at_, processes_, to(3, 2));

  EXPECT_THAT(held_in(*gathering), ElementsAre("0/4", "1/3 and 2/4", "3/4"));
  gathering.reset();
  EXPECT_EQ(with_actors.get(), 1);
  EXPECT_EQ(still.get(), 0);
}

// Behind a lost leader nobody knows how many nodes there are.
TEST_F(GatheringTest, WaitsForThoseWithoutWhomABlockWouldBeLost) {
  Regrouping regrouping = to(3, 0);
  std::promise<void> two_are_there;
  regrouping.have_all = [&, is_said = false](const std::vector<wire::HeldPart>& parts) mutable {
    if (parts.size() == 3 && !std::exchange(is_said, true)) two_are_there.set_value();
    return parts.size() == 4;  // process 0 among them
  };
  auto first = node(facts(part(1, 4))), second = node(facts(part(2, 4)));
  auto third = std::async(std::launch::async, [&] {
    two_are_there.get_future().wait();
    return node(facts(part(3, 4))).get();
  });

  auto gathering = gather_others(at_, processes_, regrouping);

  EXPECT_THAT(held_in(*gathering), testing::UnorderedElementsAre("0/4", "1/4", "2/4", "3/4"));
  EXPECT_EQ(gathering->guests().size(), 1u) << "one too many: it gives what it holds, and leaves";
  gathering.reset();
  for (auto* one : {&first, &second, &third}) EXPECT_EQ(one->get(), 0);
}

TEST_F(GatheringTest, TakesWhoHoldsAnotherStateForANewcomer) {
  wire::NodeFacts late = facts(part(2, 4));
  late.set_held_state(6);
  auto first = node(facts(part(1, 4))), second = node(late);

  auto gathering = gather_others(at_, processes_, to(3, 1));

  EXPECT_THAT(held_in(*gathering), ElementsAre("0/4", "1/4", "0/0"));
  gathering.reset();
  EXPECT_EQ(first.get(), 0);
  EXPECT_EQ(second.get(), 0);
}

}  // namespace
}  // namespace troupe::deploy
