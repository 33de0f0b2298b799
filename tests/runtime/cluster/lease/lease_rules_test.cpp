#include "runtime/cluster/lease/lease_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "runtime/cluster/cluster_error.h"
#include "tests/runtime/cluster/lease/etcd_model.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::HasSubstr;

std::string record_of(uint64_t step, double loss) {
  wire::StepRecord record;
  record.set_step(step);
  record.set_loss(loss);
  return record.SerializeAsString();
}

wire::LeaseHolder holder_of(const std::string& id, uint64_t term) {
  wire::LeaseHolder holder;
  holder.set_id(id);
  holder.set_term(term);
  return holder;
}

class LeaseRulesTest : public testing::Test {
 protected:
  LeaseView look(uint64_t from = 1, uint64_t hashes_from = 1) {
    return rules_.view_of(etcd_.run(rules_.look_from(from, hashes_from)), from);
  }

  std::optional<LeaderTerm> claim(const std::string& id, int64_t lease, const LeaseView& view,
                                  int64_t predecessor = 0, bool goes_on_behind_end = false) {
    const uint64_t term = LeaseRules::next_term(view, 0);
    const EtcdAnswer answer = etcd_.run(
        rules_.claim({view, predecessor, holder_of(id, term), lease, goes_on_behind_end}));
    if (!answer.holds) return std::nullopt;
    return LeaderTerm{term, answer.revision};
  }
  Commitment commit(const LeaderTerm& leader, uint64_t step, double loss) {
    const std::string record = record_of(step, loss);
    return rules_.outcome(etcd_.run(rules_.commit(leader, step, record)), leader, record);
  }

  const LeaseRules rules_{"a-run"};
  EtcdModel etcd_;
};

TEST_F(LeaseRulesTest, ARunIsBegunOnce) {
  wire::LeasedRun run;
  run.set_nonce("n");

  EXPECT_FALSE(look().run);
  EXPECT_TRUE(etcd_.run(rules_.begin(run, holder_of("a", 0), 1)).holds);
  EXPECT_FALSE(etcd_.run(rules_.begin(run, holder_of("b", 0), 2)).holds);
  EXPECT_EQ(look().run->nonce(), "n");
  EXPECT_FALSE(LeaseRules("another").view_of(etcd_.run(LeaseRules("another").look())).run);
}

// However busy its machine is between the two.
TEST_F(LeaseRulesTest, NobodyLeadsARunBeforeWhoHasBegunIt) {
  const EtcdAnswer begun = etcd_.run(rules_.begin({}, holder_of("a", 0), 1));
  const auto revision = LeaseRules::begun(begun, {}, holder_of("a", 0));
  ASSERT_TRUE(revision);
  EXPECT_FALSE(look().leader()) << "nodes do not join it yet";

  EXPECT_FALSE(claim("b", 2, look()));
  const auto first = claim("a again", 3, look(), *revision);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->term, 1u);
  EXPECT_EQ(look().leader()->id(), "a again");
  etcd_.end_lease(1);
  EXPECT_TRUE(look().leader()) << "by its own lease";
}

TEST_F(LeaseRulesTest, ARunWhoseBeginnerWasLostIsLedByAnother) {
  etcd_.run(rules_.begin({}, holder_of("a", 0), 1));
  etcd_.end_lease(1);

  const auto first = claim("b", 2, look());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->term, 1u) << "nobody has led it before";
}

TEST_F(LeaseRulesTest, ABeginningOfWhichNoWordCameIsKnownAgain) {
  wire::LeasedRun run, others;
  run.set_nonce("n");
  others.set_nonce("m");
  const EtcdAnswer begun = etcd_.run(rules_.begin(run, holder_of("a", 0), 1));  // the answer gets lost

  const EtcdAnswer again = etcd_.run(rules_.begin(run, holder_of("a", 0), 2));
  EXPECT_EQ(LeaseRules::begun(again, run, holder_of("a", 0)), begun.revision);
  EXPECT_FALSE(LeaseRules::begun(again, others, holder_of("b", 0))) << "somebody else has";
  etcd_.end_lease(1);
  const EtcdAnswer late = etcd_.run(rules_.begin(run, holder_of("a", 0), 3));
  EXPECT_EQ(LeaseRules::begun(late, run, holder_of("a", 0)), 0) << "it has, and waits in line with the others";
}

TEST_F(LeaseRulesTest, OneLeadsUntilItsLeaseEnds) {
  const LeaseView nobody = look();
  const auto first = claim("a", 1, nobody);
  ASSERT_TRUE(first);

  EXPECT_FALSE(claim("b", 2, nobody)) << "what it had seen was old";
  EXPECT_FALSE(claim("b", 2, look())) << "somebody leads";
  EXPECT_EQ(LeaseRules::is_held(look(), "a")->revision, first->revision);
  EXPECT_FALSE(LeaseRules::is_held(look(), "b"));
  etcd_.end_lease(1);

  const auto second = claim("b", 2, look());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->term, first->term + 1);
  EXPECT_EQ(look().last->id(), "b");
}

// On the host of one that was killed nobody has to wait for the lease to end.
TEST_F(LeaseRulesTest, WhoKnowsThatTheLeaderHasEndedFollowsItAtOnce) {
  const auto first = claim("a", 1, look());

  const auto second = claim("b", 2, look(), first->revision);

  ASSERT_TRUE(second);
  EXPECT_EQ(commit(*first, 1, 0), Commitment::fenced);
  EXPECT_EQ(commit(*second, 1, 0), Commitment::committed);
  EXPECT_FALSE(claim("c", 3, look(), first->revision)) << "that one was followed already";
  etcd_.end_lease(1);
  EXPECT_EQ(commit(*second, 2, 0), Commitment::committed) << "its own lease lives";
}

TEST_F(LeaseRulesTest, TheTermIsAboveThatOfTheJournalAtHandToo) {
  EXPECT_EQ(LeaseRules::next_term(look(), 0), 1u);
  EXPECT_EQ(LeaseRules::next_term(look(), 7), 8u);
  claim("a", 1, look());
  claim("b", 1, look(), look().holder_revision);
  EXPECT_EQ(LeaseRules::next_term(look(), 1), 3u);
}

TEST_F(LeaseRulesTest, WhoHasLostTheLeaseCommitsNothing) {
  const auto leader = claim("a", 1, look());
  EXPECT_EQ(commit(*leader, 1, 0.5), Commitment::committed);
  etcd_.end_lease(1);

  EXPECT_EQ(commit(*leader, 2, 0.5), Commitment::fenced) << "also when nobody leads";
  claim("b", 2, look());
  EXPECT_EQ(commit(*leader, 2, 0.5), Commitment::fenced);
  EXPECT_EQ(commit(*leader, 1, 0.5), Commitment::fenced) << "also what it has committed";
  EXPECT_EQ(look().commits.size(), 1u);
}

TEST_F(LeaseRulesTest, ACommitOfWhichNoWordCameIsAskedForAgain) {
  const auto leader = claim("a", 1, look());
  etcd_.run(rules_.commit(*leader, 1, record_of(1, 0.5)));  // the answer gets lost

  EXPECT_EQ(commit(*leader, 1, 0.5), Commitment::committed);
  EXPECT_THROW(commit(*leader, 1, 0.6), ClusterError) << "a step has one record";
  EXPECT_EQ(look().commits.at(0).loss(), 0.5);
}

TEST_F(LeaseRulesTest, RecordsAndHashesComeInOrderFromTheStepThatIsAskedFor) {
  const auto leader = claim("a", 1, look());
  for (uint64_t step = 1; step <= 300; ++step) {
    commit(*leader, step, static_cast<double>(step));
    etcd_.run(rules_.journal_hash(*leader, step, 1000 + step));
  }

  const LeaseView first = look();
  EXPECT_EQ(first.commits.size(), 256u) << "so many at once";
  EXPECT_EQ(first.commits.at(99).loss(), 100);
  EXPECT_EQ(first.hashes.size(), 300u);
  EXPECT_EQ(first.hashes.at(300), 1300u);
  const LeaseView rest = look(257, 299);
  EXPECT_EQ(rest.commits.size(), 44u);
  EXPECT_EQ(rest.commits.at(0).step(), 257u);
  EXPECT_EQ(rest.hashes.size(), 2u) << "of 299 and 300";
  EXPECT_TRUE(look(301).commits.empty());
}

TEST_F(LeaseRulesTest, AGapIsNamed) {
  const auto leader = claim("a", 1, look());
  commit(*leader, 3, 0);

  try {
    look();
    ADD_FAILURE() << "steps 1 and 2 were not missed";
  } catch (const ClusterError& error) {
    EXPECT_THAT(error.what(), HasSubstr("troupe/a-run/commits/000000000003, wanted the record of step 1"));
  }
}

TEST_F(LeaseRulesTest, AnEndIsForAllUntilTheRunIsToGoOn) {
  const auto leader = claim("a", 1, look());
  wire::LeasedEnd end;
  end.set_text("step 9");
  EXPECT_EQ(rules_.outcome(etcd_.run(rules_.finish(*leader, end)), *leader, end.SerializeAsString()),
            Commitment::committed);
  etcd_.end_lease(1);

  EXPECT_EQ(look().end->text(), "step 9");
  EXPECT_FALSE(claim("b", 2, look()));
  EXPECT_TRUE(claim("b", 2, look(), 0, true));
  EXPECT_FALSE(look().end);
}

TEST_F(LeaseRulesTest, StandbysGoInTheOrderOfPriorityThenOfComing) {
  const auto stand_by = [&](const std::string& id, int priority, int64_t lease) {
    wire::StandbyFacts facts;
    facts.set_priority(priority);
    etcd_.run(rules_.stand_by(id, facts, lease));
  };
  stand_by("third", 2, 1);
  stand_by("first", 1, 2);
  stand_by("fourth", 2, 3);
  stand_by("second", 1, 4);
  const auto is_turn = [&](const std::string& id, double vacant) {
    return is_turn_of(id, look().standbys, vacant, 0.5);
  };

  EXPECT_TRUE(is_turn("first", 0));
  EXPECT_FALSE(is_turn("second", 0.4));
  EXPECT_TRUE(is_turn("second", 0.5)) << "the first has not";
  EXPECT_FALSE(is_turn("fourth", 1.4));
  EXPECT_FALSE(is_turn("nobody", 100)) << "it has no lease";
  etcd_.end_lease(2);
  EXPECT_TRUE(is_turn("second", 0));
  EXPECT_TRUE(claim("second", 4, look()));
  EXPECT_TRUE(is_turn("third", 0)) << "who leads stands by no more";
}

/// A process that may lead, as far as the rules go: answers to it get lost, its lease ends behind its back,
/// and what it has seen is old.
struct Candidate {
  std::string id;
  int64_t lease = 0;
  LeaseView seen = {};
  uint64_t seen_from = 1;
  std::optional<LeaderTerm> leads = std::nullopt;
  uint64_t next = 1;  // step
  std::map<uint64_t, double> acknowledged = {};
};

// Laws 3 and 4 across hosts, whatever gets lost, comes late or is not noticed.
TEST(LeaseModel, NoStepIsCommittedTwiceNorByWhoWasFollowed) {
  for (uint32_t seed = 1; seed <= 80; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto one_in = [&](uint32_t n) { return random() % n == 0; };
    const LeaseRules rules("r");
    EtcdModel etcd;
    std::string writer;  // who writes now
    double loss = 0;
    etcd.written = [&](const std::string& key, const std::string& before) {
      if (!key.starts_with("troupe/r/commits/")) return;
      EXPECT_EQ(before, "") << key << " was written over";
      const auto holder = rules.view_of(etcd.run(rules.look())).holder;
      EXPECT_EQ(holder ? holder->id() : "nobody", writer) << key;
    };
    int64_t leases = 0;
    std::vector<Candidate> all{{.id = "a"}, {.id = "b"}, {.id = "c"}};
    uint64_t terms = 0;
    for (int i = 0; i < 250; ++i) {
      Candidate& one = all[random() % all.size()];
      writer = one.id;
      if (one.leads) {
        loss += 1;  // nobody else would make this record
        const std::string record = record_of(one.next, loss);
        const EtcdAnswer answer = etcd.run(rules.commit(*one.leads, one.next, record));
        const bool is_lost = one_in(4);
        const Commitment outcome =
            rules.outcome(is_lost ? etcd.run(rules.commit(*one.leads, one.next, record)) : answer,
                          *one.leads, record);
        if (outcome == Commitment::committed) one.acknowledged[one.next++] = loss;
        if (outcome == Commitment::fenced) one.leads.reset();
      } else if (one_in(2)) {
        one.seen_from = 1;
        one.seen = rules.view_of(etcd.run(rules.look_from(1, 1)), 1);
      } else {
        if (one.lease == 0 || one_in(3)) one.lease = ++leases;
        const bool knows_of_an_end = one.seen.holder && one_in(5);
        const wire::LeaseHolder holder = holder_of(one.id, LeaseRules::next_term(one.seen, 0));
        const EtcdAnswer answer =
            etcd.run(rules.claim({one.seen, knows_of_an_end ? one.seen.holder_revision : 0, holder,
                                  one.lease, false}));
        if (answer.holds) {
          EXPECT_GT(holder.term(), terms);
          terms = holder.term();
          one.leads = LeaderTerm{holder.term(), answer.revision};
          one.next = rules.view_of(etcd.run(rules.look_from(1, 1)), 1).commits.size() + 1;
        }
      }
      if (one_in(12)) etcd.end_lease(1 + static_cast<int64_t>(random() % (leases + 1)));
    }
    const auto commits = rules.view_of(etcd.run(rules.look_from(1, 1)), 1).commits;
    EXPECT_GT(commits.size(), 10u);
    for (const Candidate& one : all) {
      for (const auto& [step, acknowledged] : one.acknowledged) {
        ASSERT_LE(step, commits.size());
        EXPECT_EQ(commits[step - 1].loss(), acknowledged) << one.id << ", step " << step;
      }
    }
  }
}

}  // namespace
}  // namespace troupe::tests
