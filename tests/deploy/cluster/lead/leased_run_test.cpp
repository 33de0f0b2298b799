#include "deploy/cluster/lead/leased_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "runtime/cluster/cluster_error.h"
#include "tests/etcd_server.h"
#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

using namespace deploy;
using testing::HasSubstr;

class LeasedRunTest : public testing::Test {
 protected:
  void SetUp() override {
    if (etcd_program().empty()) GTEST_SKIP() << why_no_etcd;
    server_ = std::make_unique<EtcdServer>(folder_);
  }
  ~LeasedRunTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  using Part = LeasedRun::Part;
  static constexpr const char* first_address = "10.0.0.1:7070";
  LeasedRun run(Part part, uint64_t recipe = 7) {
    return LeasedRun({.place = server_->place("a-run"), .part = part, .priority = 1, .recipe = recipe});
  }
  static Mandate lead(const LeasedRun& run, runtime::JournalHistory& history,
                      const std::string& address, int processes) {
    const LeaderLife life;
    return run.lead({.life = life, .history = history, .address = address, .processes = processes,
                     .cores = 2});
  }
  std::string error_of(Part part, uint64_t recipe = 7) {
    try {
      run(part, recipe);
    } catch (const runtime::ClusterError& error) {
      return error.what();
    }
    return "none";
  }
  static wire::JournalEntry commit_of(uint64_t step) {
    wire::JournalEntry entry;
    entry.mutable_commit()->set_step(step);
    return entry;
  }
  static wire::JournalEntry hash_of(uint64_t step, uint64_t hash) {
    wire::JournalEntry entry;
    entry.mutable_applied()->set_step(step);
    entry.mutable_applied()->set_hash(hash);
    return entry;
  }

  const std::filesystem::path folder_ = own_folder();
  std::unique_ptr<EtcdServer> server_;
};

TEST_F(LeasedRunTest, IsBegunByOneAndIsTheSameForAll) {
  LeasedRun first = run(Part::begins), racing = run(Part::begins);
  first.begin(first_address);

  EXPECT_THROW(racing.begin("10.0.0.2:7070"), runtime::ClusterError);
  EXPECT_THAT(error_of(Part::begins), HasSubstr("has a run of the name a-run already"));
  EXPECT_THAT(error_of(Part::stands_by, 8), HasSubstr("has another recipe, model or data"));
  EXPECT_EQ(run(Part::stands_by).nonce(), first.nonce());
  EXPECT_EQ(run(Part::resumes).nonce(), first.nonce());
}

TEST_F(LeasedRunTest, WhoMayLeadHasTheSecretOfWhoBegan) {
  LeasedRun first = run(Part::begins);
  first.prove(runtime::Secret("sixteen-bytes-or-more"));
  first.begin(first_address);
  LeasedRun second = run(Part::stands_by);

  EXPECT_NO_THROW(second.prove(runtime::Secret("sixteen-bytes-or-more")));
  EXPECT_THROW(second.prove(runtime::Secret("seventeen-bytes-or-more")), runtime::ClusterError);
}

// A machine may be busy between beginning and leading.
TEST_F(LeasedRunTest, AStandbyIsThereBeforeWhoHasBegunLeadsAndDoesNotLeadFirst) {
  LeasedRun first = run(Part::begins);
  first.begin(first_address);
  runtime::JournalHistory its, others;
  auto standby = std::async(std::launch::async, [&] {
    return lead(run(Part::stands_by), others, "10.0.0.2:7070", 3);
  });
  const auto rules = server_->place("a-run").rules();
  auto client = server_->place("a-run").client();
  runtime::LeaseView view;
  do view = rules.view_of(client.run(rules.look()));
  while (view.standbys.empty() && !view.last);  // it claims as soon as it may

  Mandate mandate = lead(first, its, first_address, 3);

  EXPECT_EQ(mandate.leadership->term().term, 1u);
  EXPECT_EQ(mandate.loss, "");
  mandate.leadership.reset();
  EXPECT_EQ(standby.get().leadership->term().term, 2u);
}

TEST_F(LeasedRunTest, AStandbyLeadsARunWhoseBeginnerNeverDid) {
  run(Part::begins).begin(first_address);
  runtime::JournalHistory history;

  const Mandate mandate = lead(run(Part::stands_by), history, "10.0.0.2:7070", 3);

  EXPECT_EQ(mandate.leadership->term().term, 1u);
  EXPECT_EQ(mandate.loss, "") << "nobody holds a state";
}

TEST_F(LeasedRunTest, AStandbyGetsWhatTheLeaderCommittedAndThePlanThatItHad) {
  LeasedRun first = run(Part::begins);
  first.begin(first_address);
  runtime::JournalHistory its, others;
  others.commits.push_back(commit_of(1).commit());  // of a time when it led itself
  others.last_term = 4;
  Mandate mandate = lead(first, its, first_address, 3);
  EXPECT_EQ(mandate.loss, "") << "nobody led before";
  EXPECT_EQ(mandate.leadership->term().term, 1u);
  auto standby = std::async(std::launch::async, [&] {
    return lead(run(Part::stands_by), others, "10.0.0.2:7070", 2);
  });
  for (uint64_t step = 1; step <= 3; ++step) {
    EXPECT_EQ(mandate.leadership->append(commit_of(step)), runtime::Commitment::committed);
  }
  EXPECT_EQ(mandate.leadership->append(hash_of(2, 42)), runtime::Commitment::committed);

  mandate.leadership.reset();  // its lease ends
  const Mandate next = standby.get();

  EXPECT_EQ(next.leadership->term().term, 5u) << "above that of its own journal";
  EXPECT_THAT(next.loss, HasSubstr("process 0 of term 1 ("));
  EXPECT_THAT(next.loss, HasSubstr("at 10.0.0.1:7070), which led the run, has lost its lease"));
  EXPECT_EQ(next.processes, 3);
  ASSERT_EQ(others.commits.size(), 3u);
  EXPECT_EQ(others.commits[2].step(), 3u);
  EXPECT_EQ(others.hashes.at(2), 42u);
  ASSERT_EQ(next.missing.size(), 3u) << "two commits and a hash";
}

// A hash is written behind its commit: by then a standby may have read the commit, and the next ones.
TEST_F(LeasedRunTest, AHashThatWasWrittenAfterItsCommitWasReadComesToo) {
  LeasedRun first = run(Part::begins);
  first.begin(first_address);
  runtime::JournalHistory its, others;
  Mandate mandate = lead(first, its, first_address, 3);
  for (uint64_t step = 1; step <= 3; ++step) {
    mandate.leadership->append(commit_of(step));
    others.commits.push_back(commit_of(step).commit());  // it has read them
  }
  others.hashes[1] = 41;
  mandate.leadership->append(hash_of(3, 43));
  mandate.leadership->append(hash_of(2, 42));
  mandate.leadership.reset();

  const Mandate next = lead(run(Part::stands_by), others, "10.0.0.2:7070", 2);

  EXPECT_EQ(others.hashes, (std::map<uint64_t, uint64_t>{{1, 41}, {2, 42}, {3, 43}}));
  EXPECT_EQ(next.missing.size(), 2u) << "two hashes";
}

TEST_F(LeasedRunTest, AnEndIsForStandbysAndNotForWhoResumes) {
  LeasedRun first = run(Part::begins);
  first.begin(first_address);
  runtime::JournalHistory its, others;
  Mandate mandate = lead(first, its, first_address, 3);
  const LeasedRun standby = run(Part::stands_by);
  wire::LeasedEnd end;
  end.set_text("step 9 of 9");
  mandate.leadership->finish(end);
  mandate.leadership.reset();

  EXPECT_EQ(lead(standby, others, "10.0.0.2:7070", 3).end, "step 9 of 9");
  const Mandate resumed = lead(run(Part::resumes), others, "10.0.0.2:7070", 2);

  ASSERT_TRUE(resumed.leadership);
  EXPECT_EQ(resumed.loss, "") << "nobody holds a state any more";
  EXPECT_EQ(resumed.processes, 0) << "it is planned anew";
}

}  // namespace
}  // namespace troupe::tests
