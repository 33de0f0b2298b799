#include "actors/messages/directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <thread>

#include "actors/launch.h"
#include "runtime/telemetry/cell_layout.h"

namespace troupe::tests {
namespace {

using namespace actors;
using runtime::Cell;
using runtime::CellSlot;
using testing::Each;
using testing::HasSubstr;

struct System {
  System() { register_message_types(); }
  caf::actor_system_config config;
};

/// What an actor was told by one of several senders: whose message it is, and its number there.
struct Taken {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::vector<uint32_t>> by_sender;
  size_t count = 0;
  size_t most_waiting = 0;  ///< in the mailbox at once

  bool wait_for(size_t wanted) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(30), [&] { return count >= wanted; });
  }
};

/// Takes messages from its post; the first one is begun before `may_go_on`.
class Receiver : public caf::event_based_actor {
 public:
  struct Setup {
    Taken* taken;
    Cell* cell;
    std::latch* has_begun;
    std::latch* may_go_on;
  };
  Receiver(caf::actor_config& config, const Setup& setup)
      : event_based_actor(config), setup_(setup) {}

  bool enqueue(caf::mailbox_element_ptr element, caf::execution_unit* unit) override {
    if (element->payload.match_elements<uint32_t, uint32_t>()) {
      std::lock_guard lock(setup_.taken->mutex);
      setup_.taken->most_waiting = std::max(setup_.taken->most_waiting, ++waiting_);
    }
    return event_based_actor::enqueue(std::move(element), unit);
  }

  caf::behavior make_behavior() override {
    return {[this](uint32_t sender, uint32_t number) {
              begin();
              if (setup_.has_begun) std::exchange(setup_.has_begun, nullptr)->count_down();
              setup_.may_go_on->wait();
              std::lock_guard lock(setup_.taken->mutex);
              setup_.taken->by_sender.at(sender).push_back(number);
              ++setup_.taken->count;
              setup_.taken->changed.notify_all();
            },
            [this](uint64_t post) { post_ = reinterpret_cast<Post*>(post); }};
  }

 private:
  void begin() {
    {
      std::lock_guard lock(setup_.taken->mutex);
      --waiting_;
    }
    post_->taken();
  }

  Setup setup_;
  Post* post_ = nullptr;
  size_t waiting_ = 0;  // under the mutex of `taken`
};

class PostTest : public testing::Test {
 protected:
  static constexpr uint32_t senders = 4;

  PostTest() {
    taken_.by_sender.resize(senders);
    receiver_ = system_.spawn<Receiver>(Receiver::Setup{&taken_, &cell_, &has_begun_, &may_go_on_});
    post_.emplace("stage/0.0.0", receiver_, &cell_);
    runtime::tell(receiver_, reinterpret_cast<uint64_t>(&*post_));
  }
  ~PostTest() override { runtime::stop_actor(receiver_, caf::exit_reason::user_shutdown); }

  /// How many were refused, by sender; from as many threads.
  std::vector<uint32_t> send(uint32_t each) {
    std::vector<uint32_t> refused(senders, 0);
    std::vector<std::thread> threads;
    for (uint32_t sender = 0; sender < senders; ++sender) {
      threads.emplace_back([&, sender] {
        for (uint32_t number = 0; number < each; ++number) {
          try {
            post_->send(caf::make_message(sender, number));
          } catch (const OverloadError& error) {
            ++refused[sender];
            std::lock_guard lock(taken_.mutex);
            overload_ = error.what();
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return refused;
  }
  static std::vector<uint32_t> counted(uint32_t n) {
    std::vector<uint32_t> numbers(n);
    for (uint32_t i = 0; i < n; ++i) numbers[i] = i;
    return numbers;
  }

  System configured_;
  caf::actor_system system_{configured_.config};
  CellSlot slot_{};
  Cell cell_{slot_};
  Taken taken_;
  std::latch has_begun_{1}, may_go_on_{1};
  caf::actor receiver_;
  std::optional<Post> post_;
  std::string overload_;
};

// Supervision law: a mailbox that others can fill has a credit limit.
TEST_F(PostTest, AStuckActorsMailboxStaysWithinItsCredit) {
  post_->send(caf::make_message(uint32_t{0}, uint32_t{4711}));
  has_begun_.wait();

  const std::vector<uint32_t> refused = send(2500);

  EXPECT_EQ(taken_.most_waiting, mailbox_credit);
  EXPECT_EQ(slot_.parked, most_parked);
  EXPECT_EQ(refused[0] + refused[1] + refused[2] + refused[3],
            4 * 2500 - mailbox_credit - most_parked);
  EXPECT_THAT(overload_, HasSubstr("stage/0.0.0 has 256 token messages in its mailbox and 4096"));
  may_go_on_.count_down();
  ASSERT_TRUE(taken_.wait_for(1 + mailbox_credit + most_parked));
  ASSERT_EQ(taken_.by_sender[0].front(), 4711u);
  taken_.by_sender[0].erase(taken_.by_sender[0].begin());
  for (uint32_t sender = 0; sender < senders; ++sender) {
    // Nobody was taken any more once one had been refused.
    EXPECT_EQ(taken_.by_sender[sender], counted(2500 - refused[sender])) << sender;
  }
  EXPECT_EQ(taken_.most_waiting, mailbox_credit);
  EXPECT_EQ(slot_.parked, 0u);
}

TEST_F(PostTest, EachSendersOrderIsKeptWhileTheActorWorks) {
  may_go_on_.count_down();

  const std::vector<uint32_t> refused = send(1000);
  ASSERT_TRUE(taken_.wait_for(4000));

  EXPECT_THAT(refused, Each(0u));
  EXPECT_THAT(taken_.by_sender, Each(counted(1000)));
  EXPECT_LE(taken_.most_waiting, mailbox_credit);
  EXPECT_EQ(slot_.parked, 0u);
}

TEST_F(PostTest, ItsCreditComesBack) {
  may_go_on_.count_down();
  for (size_t round = 1; round <= 3; ++round) {
    taken_.by_sender.assign(senders, {});
    send(500);

    ASSERT_TRUE(taken_.wait_for(round * 2000)) << "round " << round;
  }
}

TEST(Directory, FindsWhoStandsThereNow) {
  System configured;
  caf::actor_system system(configured.config);
  const auto idle = [] { return caf::behavior{[](int) {}}; };
  Directory directory;
  const caf::actor first = system.spawn(idle), second = system.spawn(idle);

  directory.put({Role::stage, 1}, first);
  EXPECT_EQ(directory.find({Role::stage, 1}), first);
  EXPECT_FALSE(directory.find({Role::stage, 0}));
  directory.put({Role::stage, 1}, second);  // after a restart
  directory.put({Role::trainer}, first);

  EXPECT_EQ(directory.find({Role::stage, 1}), second);
  EXPECT_EQ(directory.of(Role::stage).size(), 1u);
  EXPECT_EQ(directory.all().size(), 2u);
  directory.clear();
  EXPECT_FALSE(directory.find({Role::trainer}));
  for (const caf::actor& actor : {first, second}) {
    runtime::stop_actor(actor, caf::exit_reason::user_shutdown);
  }
}

// What a dead actor had not taken goes with it: who stands in its place has all its credit.
TEST(Directory, ANewLifeBeginsWithAnEmptyPost) {
  System configured;
  caf::actor_system system(configured.config);
  const auto idle = [] { return caf::behavior{[](uint32_t, uint32_t) {}}; };
  const caf::actor first = system.spawn(idle), second = system.spawn(idle);
  const Address address{Role::router, 0, 0, 3};
  CellSlot slot{};
  Cell cell(slot);
  Directory directory;
  directory.put(address, first, &cell);
  const std::shared_ptr<Post> old = directory.post(address);
  for (size_t i = 0; i < mailbox_credit + most_parked; ++i) {
    old->send(caf::make_message(uint32_t{0}, uint32_t{0}));  // nobody says that it took them
  }
  EXPECT_THROW(old->send(caf::make_message(uint32_t{0}, uint32_t{0})), OverloadError);

  directory.put(address, second, &cell);

  EXPECT_NE(directory.post(address), old);
  EXPECT_NO_THROW(directory.post(address)->send(caf::make_message(uint32_t{0}, uint32_t{0})));
  for (const caf::actor& actor : {first, second}) {
    runtime::stop_actor(actor, caf::exit_reason::user_shutdown);
  }
}

}  // namespace
}  // namespace troupe::tests
