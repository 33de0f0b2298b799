#include "deploy/cluster/node/leader_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "runtime/cluster/cluster_error.h"
#include "tests/etcd_server.h"
#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

using namespace deploy;
using namespace std::chrono_literals;
using runtime::within;
using testing::HasSubstr;

/// Leaders that only say where they are, and listen there.
class LeaderSearchTest : public testing::Test {
 protected:
  void SetUp() override {
    if (etcd_program().empty()) GTEST_SKIP() << why_no_etcd;
    server_ = std::make_unique<EtcdServer>(folder_);
    place_ = server_->place("a-run");
  }
  ~LeaderSearchTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  /// In the next term, behind whoever leads.
  runtime::LeaderTerm lead(const runtime::Endpoint& at) {
    runtime::EtcdClient client = place_.client();
    const auto rules = place_.rules();
    const auto view = rules.view_of(client.run(rules.look()));
    wire::LeaseHolder holder;
    holder.set_term(runtime::LeaseRules::next_term(view, 0));
    holder.set_address(to_string(at));
    holder.set_host("host-x");
    const auto answer =
        client.run(rules.claim({view, view.holder_revision, holder, client.grant(60), false}));
    EXPECT_TRUE(answer.holds);
    return {holder.term(), answer.revision};
  }
  void end(const runtime::LeaderTerm& leader, bool has_failed) {
    wire::LeasedEnd end;
    end.set_text("step 9 of 9");
    end.set_has_failed(has_failed);
    EXPECT_TRUE(place_.client().run(place_.rules().finish(leader, end)).holds);
  }

  const std::filesystem::path folder_ = own_folder();
  std::unique_ptr<EtcdServer> server_;
  runtime::LeasePlace place_;
  runtime::Listener here_{{"127.0.0.1", 0}}, there_{{"127.0.0.1", 0}};
  const std::atomic<bool> goes_on_{false}, is_stopped_{true};
};

TEST_F(LeaderSearchTest, FindsWhoLeadsAndNoticesWhenAnotherDoesElsewhere) {
  lead(here_.endpoint());
  LeaderSearch search(place_);

  const auto found = search.find(within(10s), goes_on_);
  EXPECT_EQ(found.at, here_.endpoint());
  EXPECT_EQ(found.term, 1u);
  EXPECT_EQ(search.verdict(), "");
  lead(there_.endpoint());

  EXPECT_TRUE(found.socket->wait(within(10s))) << "it is shut down";
  EXPECT_EQ(search.verdict(), "host-x leads the run in term 2");
  EXPECT_EQ(search.find(within(10s), goes_on_).at, there_.endpoint());
}

// Who follows on the same host takes the connections that wait there.
TEST_F(LeaderSearchTest, KeepsAConnectionToThePlaceWhereTheNextOneLeadsToo) {
  lead(here_.endpoint());
  LeaderSearch search(place_);
  const auto found = search.find(within(10s), goes_on_);

  lead(here_.endpoint());

  const uint64_t before = search.looks();
  while (search.looks() < before + 2) std::this_thread::yield();  // one began before, maybe
  EXPECT_FALSE(found.socket->wait(within(0s)));
  EXPECT_EQ(search.verdict(), "");
}

TEST_F(LeaderSearchTest, SaysThatNobodyLeadsOrThatItWasStopped) {
  LeaderSearch search(place_);
  const auto error_of = [&](const std::atomic<bool>& is_stopped, runtime::Deadline deadline) {
    try {
      search.find(deadline, is_stopped);
    } catch (const runtime::ClusterError& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };

  EXPECT_THAT(error_of(goes_on_, within(100ms)),
              HasSubstr("nobody leads the run a-run by etcd at 127.0.0.1:"));
  EXPECT_THAT(error_of(is_stopped_, within(1h)), HasSubstr("nobody leads"));
  server_->kill();
  EXPECT_THAT(error_of(goes_on_, within(100ms)), HasSubstr("etcd: cannot reach"));
}

// Who was in a run ends with it; who comes to one that has ended waits: it may be about to go on.
TEST_F(LeaderSearchTest, TellsWhoWasInTheRunThatItHasEnded) {
  const auto leader = lead(here_.endpoint());
  LeaderSearch member(place_), stranger(place_);
  member.find(within(10s), goes_on_);
  end(leader, true);

  try {
    member.find(within(10s), goes_on_);
    ADD_FAILURE() << "the run has ended";
  } catch (const RunHasEnded& error) {
    EXPECT_STREQ(error.what(), "the run has ended: step 9 of 9");
    EXPECT_TRUE(error.has_failed);
  }
  try {
    stranger.find(within(100ms), goes_on_);
    ADD_FAILURE() << "the run has ended";
  } catch (const RunHasEnded&) {
    ADD_FAILURE() << "it was not in it";
  } catch (const runtime::ClusterError& error) {
    EXPECT_STREQ(error.what(), "the run has ended: step 9 of 9");
  }
}

}  // namespace
}  // namespace troupe::tests
