// Supervisors under supervisors, and children with names.
#include "runtime/supervision/supervisor_core.h"

#include <deque>

#include "tests/runtime/supervision/stage_play.h"

namespace troupe::runtime::tests {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// A supervisor in a tree: its children of type supervisor are such too. No time passes.
class Troupe {
 public:
  struct Plan {
    SupervisorFlags flags;
    std::vector<ChildSpec> specs;
  };
  /// Plans by the `start` of a specification; the root's is "top".
  explicit Troupe(std::map<std::string, Plan> plans) : plans_(std::move(plans)) {
    grow("top", nullptr, 0);
    drain();
  }

  struct Node {
    std::string name;
    SupervisorCore core;
    Node* parent;
    Incarnation incarnation;
    std::map<Incarnation, Node*> supervisors;
    std::map<std::string, Incarnation> latest;
  };

  Node* find(const std::string& name) {
    for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
      if (node->name == name && !node->core.has_ended()) return &*node;
    }
    return nullptr;
  }
  Incarnation living(const std::string& node, const std::string& id) {
    for (const ChildStatus& child : find(node)->core.which_children()) {
      if (child.id == id) return child.incarnation;
    }
    return 0;
  }
  void tell(const std::string& node, Event event) {
    letters_.emplace_back(find(node), std::move(event));
    drain();
  }
  std::set<std::string> failing;  // arguments or ids whose starts fail
  /// Who stands under a name, as a directory keeps it: put again at each start.
  std::map<std::string, Incarnation> directory;

 private:
  void grow(const std::string& plan, Node* parent, Incarnation incarnation) {
    const Plan& wanted = plans_.at(plan);
    nodes_.push_back(
        {plan, SupervisorCore(wanted.flags, wanted.specs), parent, incarnation, {}, {}});
    if (parent) parent->supervisors[incarnation] = &nodes_.back();
    letters_.emplace_back(&nodes_.back(), event::Begin{});
  }
  void drain() {
    while (!letters_.empty()) {
      auto [node, event] = std::move(letters_.front());
      letters_.pop_front();
      for (const Effect& effect : node->core.handle(Instant{0}, std::move(event))) {
        play(*node, effect);
      }
    }
  }
  void play(Node& node, const Effect& effect) {
    if (const auto* start = std::get_if<effect::Start>(&effect)) {
      if (failing.contains(start->argument) || failing.contains(start->id)) {
        return letters_.emplace_back(&node, event::StartFailed{start->child, "no start"}), void();
      }
      directory[start->id] = start->child;
      if (start->type == ChildType::supervisor) grow(start->start, &node, start->child);
      letters_.emplace_back(&node, event::Started{start->child});
    } else if (const auto* signal = std::get_if<effect::Signal>(&effect)) {
      const auto below = node.supervisors.find(signal->child);
      if (below != node.supervisors.end()) {
        letters_.emplace_back(below->second, event::Stop{ExitReason::shutdown()});
      } else {
        letters_.emplace_back(&node, event::Exited{signal->child, ExitReason::shutdown()});
      }
    } else if (const auto* timer = std::get_if<effect::ArmTimer>(&effect)) {
      if (timer->delay.count() == 0) {
        letters_.emplace_back(&node, event::TimerFired{timer->timer});
      }
    } else if (const auto* end = std::get_if<effect::End>(&effect)) {
      if (node.parent) {
        letters_.emplace_back(node.parent, event::Exited{node.incarnation, end->reason});
      }
    }
  }

  std::map<std::string, Plan> plans_;
  std::deque<Node> nodes_;
  std::deque<std::pair<Node*, Event>> letters_;
};

ChildSpec supervisor(std::string id, Restart restart = Restart::permanent) {
  return {.id = id, .start = id, .restart = restart, .type = ChildType::supervisor};
}

// 17
TEST(SupervisorTree, EscalatesAndDynamicChildrenAreLost) {
  Troupe troupe({{"top", {{.strategy = Strategy::one_for_all, .intensity = 3},
                          {supervisor("sup1"), supervisor("sup2")}}},
                 {"sup1", {{}, {permanent("c1"), permanent("c2")}}},
                 {"sup2", {{.strategy = Strategy::simple_one_for_one, .intensity = 2},
                           {permanent("dynamic")}}}});
  troupe.tell("sup2", event::Called{1, call::StartDynamic{"c3"}});
  troupe.tell("sup2", event::Called{2, call::StartDynamic{"c4"}});
  Troupe::Node* const sup1 = troupe.find("sup1");
  Troupe::Node* const sup2 = troupe.find("sup2");
  const auto before = sup2->core.which_children();  // c4, c3

  troupe.tell("sup2", event::Exited{before.front().incarnation, ExitReason::failure("crash")});
  const auto after = sup2->core.which_children();
  EXPECT_GT(after.front().incarnation, before.front().incarnation);
  EXPECT_EQ(after.back(), before.back());
  EXPECT_EQ(troupe.find("sup1"), sup1);
  troupe.failing = {"c3"};
  troupe.tell("sup2", event::Exited{after.back().incarnation, ExitReason::failure("crash")});

  EXPECT_TRUE(sup2->core.has_ended());
  EXPECT_TRUE(sup1->core.has_ended()) << "one_for_all";
  ASSERT_NE(troupe.find("sup1"), nullptr);
  ASSERT_NE(troupe.find("sup2"), nullptr);
  EXPECT_EQ(troupe.find("sup1")->core.count_children().active, 2u);
  EXPECT_THAT(troupe.find("sup2")->core.which_children(), IsEmpty());
}

// 21
TEST(SupervisorTree, ANameMeansTheNewestLife) {
  Troupe troupe({{"top", {{}, {permanent("named")}}}});
  const Incarnation first = troupe.directory["named"];

  troupe.tell("top", event::Exited{first, ExitReason::killed()});
  const Incarnation second = troupe.directory["named"];
  EXPECT_GT(second, first);
  EXPECT_EQ(second, troupe.living("top", "named"));
  troupe.tell("top", event::Called{1, call::TerminateChild{"named"}});
  troupe.tell("top", event::Called{2, call::RestartChild{"named"}});

  EXPECT_GT(troupe.directory["named"], second);
  EXPECT_EQ(troupe.directory["named"], troupe.living("top", "named"));
}

// 23
TEST(SupervisorTree, ATransientSupervisorThatGivesUpIsNotRestarted) {
  for (const Restart type : {Restart::transient, Restart::permanent}) {
    Troupe troupe({{"top", {{}, {supervisor("below", type)}}},
                   {"below", {{.intensity = 0}, {permanent("c")}}}});

    troupe.tell("below", event::Exited{troupe.living("below", "c"), ExitReason::killed()});

    EXPECT_EQ(troupe.living("top", "below") != 0, type == Restart::permanent);
    EXPECT_FALSE(troupe.find("top")->core.has_ended());
  }
}

}  // namespace
}  // namespace troupe::runtime::tests
