#include "runtime/cluster/lease/lease.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/etcd_server.h"
#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using namespace std::chrono_literals;
using testing::HasSubstr;

class LeaseTest : public testing::Test {
 protected:
  void SetUp() override {
    if (etcd_program().empty()) GTEST_SKIP() << why_no_etcd;
    server_ = std::make_unique<EtcdServer>(folder_);
    place_ = server_->place("a-run");
  }
  ~LeaseTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  LeaseView look() {
    return place_.rules().view_of(place_.client().run(place_.rules().look_from(1, 1)), 1);
  }
  std::unique_ptr<Leadership> lead(const std::string& id, int64_t predecessor = 0) {
    auto lease = std::make_unique<KeptLease>(place_);
    const LeaseView view = look();
    wire::LeaseHolder holder;
    holder.set_id(id);
    holder.set_term(LeaseRules::next_term(view, 0));
    const EtcdAnswer answer =
        place_.client().run(place_.rules().claim({view, predecessor, holder, lease->id(), false}));
    EXPECT_TRUE(answer.holds);
    return std::make_unique<Leadership>(place_, std::move(lease),
                                        LeaderTerm{holder.term(), answer.revision});
  }
  static wire::JournalEntry commit_of(uint64_t step) {
    wire::JournalEntry entry;
    entry.mutable_commit()->set_step(step);
    return entry;
  }

  const std::filesystem::path folder_ = own_folder();
  std::unique_ptr<EtcdServer> server_;
  LeasePlace place_;
};

TEST_F(LeaseTest, IsKeptAliveBeyondItsTimeAndEndsWithItsObject) {
  auto leadership = lead("a");
  EtcdClient client = place_.client();
  const int64_t left_alone = client.grant(place_.seconds);
  wire::StandbyFacts facts;
  client.run(place_.rules().stand_by("left alone", facts, left_alone));

  while (!look().standbys.empty()) {  // until one of the same time, which nobody keeps alive, has ended
  }
  EXPECT_TRUE(look().holder);
  EXPECT_EQ(leadership->lease().loss(), "");
  EXPECT_EQ(leadership->append(commit_of(1)), Commitment::committed);
  leadership.reset();

  EXPECT_FALSE(look().holder);
}

TEST_F(LeaseTest, WhoIsFollowedLearnsIt) {
  auto first = lead("a");
  std::promise<std::string> lost;
  first->lease().on_loss([&](const std::string& how) { lost.set_value(how); });
  EXPECT_EQ(first->append(commit_of(1)), Commitment::committed);
  auto second = lead("b", first->term().revision);

  EXPECT_EQ(first->append(commit_of(2)), Commitment::fenced);
  EXPECT_THAT(lost.get_future().get(), HasSubstr("term 1 is over"));
  EXPECT_EQ(second->append(commit_of(2)), Commitment::committed);
  EXPECT_EQ(look().commits.size(), 2u);
}

TEST_F(LeaseTest, OneThatHasEndedIsNoticedWithoutACommit) {
  auto leadership = lead("a");
  std::promise<std::string> lost;
  leadership->lease().on_loss([&](const std::string& how) { lost.set_value(how); });

  place_.client().revoke(leadership->lease().id());

  EXPECT_THAT(lost.get_future().get(), HasSubstr("its lease has ended"));
  EXPECT_EQ(leadership->append(commit_of(1)), Commitment::fenced);
}

TEST_F(LeaseTest, OutlivesAnEtcdThatIsKilledAndComesBack) {
  auto leadership = lead("a");
  EXPECT_EQ(leadership->append(commit_of(1)), Commitment::committed);
  server_->kill();

  EXPECT_EQ(leadership->append(commit_of(2)), Commitment::unknown);
  EXPECT_THAT(leadership->error(), HasSubstr("etcd: cannot reach 127.0.0.1:"));
  EXPECT_EQ(leadership->lease().loss(), "");
  server_->start();

  EXPECT_EQ(leadership->append(commit_of(2)), Commitment::committed);
  EXPECT_EQ(look().commits.size(), 2u);
}

}  // namespace
}  // namespace troupe::tests
