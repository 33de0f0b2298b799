#include "actors/messages/fan_out.h"

#include <gmock/gmock.h>

#include <future>

#include "actors/launch.h"

namespace troupe::tests {
namespace {

using namespace actors;
using namespace std::chrono_literals;
using testing::HasSubstr;

Address stage(int number) { return {Role::stage, 0, 0, number}; }

/// What a round came to.
struct Outcome {
  std::vector<uint64_t> answers;
  std::vector<size_t> left;
  caf::error error;
};

/// Asks its cast once.
class Asker : public caf::event_based_actor {
 public:
  Asker(caf::actor_config& config, Cast cast, std::chrono::milliseconds deadline,
        std::promise<Outcome>* told)
      : caf::event_based_actor(config), cast_(std::move(cast)), deadline_(deadline), told_(told) {}

  caf::behavior make_behavior() override {
    const auto tell = [this] { told_->set_value(outcome_); };  // a second time throws
    ask_all<uint64_t>(this, cast_, deadline_, [this](size_t left) { outcome_.left.push_back(left); },
                      {[this](uint64_t answer) { outcome_.answers.push_back(answer); }, tell,
                       [this, tell](const caf::error& error) {
                         outcome_.error = error;
                         tell();
                       }},
                      report_atom_v, uint64_t{7});
    return {[](begin_atom) {}};
  }
  DeadlineWatch& deadline_watch() { return watch_; }

 private:
  DeadlineWatch watch_{this};
  const Cast cast_;
  const std::chrono::milliseconds deadline_;
  std::promise<Outcome>* told_;
  Outcome outcome_;
};

class FanOutTest : public testing::Test {
 protected:
  /// Who keeps a promise keeps itself.
  ~FanOutTest() override {
    for (const caf::actor& actor : spawned_) caf::anon_send_exit(actor, caf::exit_reason::kill);
  }
  Outcome ask(const Cast& cast, std::chrono::milliseconds deadline) {
    std::promise<Outcome> told;
    spawned_.push_back(system_.spawn<Asker>(cast, deadline, &told));
    return told.get_future().get();
  }
  caf::actor answering(uint64_t more) {
    return spawned_.emplace_back(system_.spawn([more](caf::event_based_actor*) -> caf::behavior {
      return {[more](report_atom, uint64_t step) { return step + more; }};
    }));
  }
  caf::actor silent() {
    return spawned_.emplace_back(system_.spawn([](caf::event_based_actor* self) -> caf::behavior {
      const auto kept = std::make_shared<std::vector<caf::typed_response_promise<uint64_t>>>();
      return {[self, kept](report_atom, uint64_t) {
        return kept->emplace_back(self->make_response_promise<uint64_t>());
      }};
    }));
  }
  caf::actor failing() {
    return spawned_.emplace_back(system_.spawn([](caf::event_based_actor*) -> caf::behavior {
      return {[](report_atom, uint64_t) -> caf::result<uint64_t> {
        return runtime::make_error(runtime::Errc::stale_epoch, "of another epoch");
      }};
    }));
  }

  SystemConfig config_;
  caf::actor_system system_{config_};
  std::vector<caf::actor> spawned_;
};

TEST_F(FanOutTest, IsOverWhenAllHaveAnswered) {
  const Outcome outcome =
      ask({{stage(0), answering(1)}, {stage(1), answering(2)}, {stage(2), answering(3)}}, 60s);

  EXPECT_THAT(outcome.answers, testing::UnorderedElementsAre(8, 9, 10));
  EXPECT_THAT(outcome.left, testing::ElementsAre(3, 2, 1, 0));
  EXPECT_FALSE(outcome.error);
}

TEST_F(FanOutTest, OfNobodyIsOverAtOnce) {
  const Outcome outcome = ask({}, 60s);

  EXPECT_FALSE(outcome.error);
  EXPECT_TRUE(outcome.left.empty());
}

// Supervision law: every request has a deadline.
TEST_F(FanOutTest, NamesWhoHasNotAnsweredInTime) {
  const Outcome outcome = ask({{stage(0), answering(1)}, {stage(1), silent()}}, 1s);

  EXPECT_THAT(caf::to_string(outcome.error),
              HasSubstr(to_string(stage(1)) + " has not answered within 1000 ms"));
  EXPECT_THAT(outcome.answers, testing::ElementsAre(8));
}

TEST_F(FanOutTest, EndsWithTheFirstError) {
  const Outcome outcome = ask({{stage(0), failing()}, {stage(1), silent()}}, 60s);

  EXPECT_THAT(caf::to_string(outcome.error), HasSubstr("of another epoch"));
}

TEST_F(FanOutTest, HearsAtOnceOfWhoHasEnded) {
  const caf::actor ended = answering(1);
  caf::anon_send_exit(ended, caf::exit_reason::kill);

  const Outcome outcome = ask({{stage(0), ended}}, 60s);

  EXPECT_TRUE(outcome.error);
}

}  // namespace
}  // namespace troupe::tests
