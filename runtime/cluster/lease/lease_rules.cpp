#include "runtime/cluster/lease/lease_rules.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "runtime/cluster/cluster_error.h"

namespace troupe::runtime {
namespace {

/// So many are read at once.
constexpr int64_t records_at_once = 256, hashes_at_once = 4096;

// Order of the reads of a view.
enum : size_t { run_at, leader_at, last_at, end_at, standbys_at, commits_at, hashes_at };

ClusterError wrong(const EtcdKey& key, const std::string& wanted) {
  return ClusterError("etcd holds " + std::to_string(key.value.size()) + " bytes under " + key.key +
                      ", wanted " + wanted);
}

template <class Message>
Message message_of(const EtcdKey& key) {
  Message message;
  if (!message.ParseFromString(key.value)) throw wrong(key, Message::descriptor()->full_name());
  return message;
}

uint64_t number_of(const EtcdKey& key, const std::string& digits) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) throw wrong(key, "a number");
  return number;
}

/// Behind the last slash.
std::string last_part(const std::string& key) { return key.substr(key.rfind('/') + 1); }

void add_commits(const std::vector<EtcdKey>& keys, uint64_t from, LeaseView& view) {
  for (const EtcdKey& key : keys) {
    auto record = message_of<wire::StepRecord>(key);
    const uint64_t wanted = from + view.commits.size();
    if (record.step() != wanted || number_of(key, last_part(key.key)) != wanted) {
      throw wrong(key, "the record of step " + std::to_string(wanted));
    }
    view.commits.push_back(std::move(record));
  }
}

}  // namespace

/// Numbers of one length stand in their order.
std::string LeaseRules::step_key(const char* kind, uint64_t step) const {
  char digits[32];
  std::snprintf(digits, sizeof digits, "/%012llu", static_cast<unsigned long long>(step));
  return prefix_ + kind + digits;
}

std::string LeaseRules::value_of(uint64_t hash) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(hash >> 8 * i);
  return bytes;
}

EtcdTransaction LeaseRules::look() const {
  EtcdTransaction look;
  for (const char* key : {"run", "leader", "last", "end"}) look.reads.push_back({prefix_ + key});
  look.reads.push_back(all_below(prefix_ + "standbys/"));
  return look;
}

EtcdTransaction LeaseRules::look_from(uint64_t step, uint64_t hash_step) const {
  EtcdTransaction all = look();
  const auto rest = [&](const char* kind, uint64_t from, int64_t limit) {
    EtcdRange range = all_below(prefix_ + kind + "/");
    range.key = step_key(kind, from);
    range.limit = limit;
    all.reads.push_back(range);
  };
  rest("commits", step, records_at_once);
  rest("hashes", hash_step, hashes_at_once);
  return all;
}

LeaseView LeaseRules::view_of(const EtcdAnswer& answer, uint64_t from_step) const {
  if (answer.ranges.size() <= standbys_at) {
    throw ClusterError("etcd has answered " + std::to_string(answer.ranges.size()) +
                       " ranges, wanted at least " + std::to_string(standbys_at + 1));
  }
  LeaseView view;
  const auto& ranges = answer.ranges;
  if (!ranges[run_at].empty()) view.run = message_of<wire::LeasedRun>(ranges[run_at][0]);
  if (!ranges[leader_at].empty()) {
    view.holder = message_of<wire::LeaseHolder>(ranges[leader_at][0]);
    view.holder_revision = ranges[leader_at][0].changed;
  }
  if (!ranges[last_at].empty()) {
    view.last = message_of<wire::LeaseHolder>(ranges[last_at][0]);
    view.last_revision = ranges[last_at][0].changed;
  }
  if (!ranges[end_at].empty()) view.end = message_of<wire::LeasedEnd>(ranges[end_at][0]);
  for (const EtcdKey& key : ranges[standbys_at]) {
    view.standbys.push_back(
        {last_part(key.key), message_of<wire::StandbyFacts>(key).priority(), key.created});
  }
  std::sort(view.standbys.begin(), view.standbys.end(), [](const auto& a, const auto& b) {
    return std::pair(a.priority, a.revision) < std::pair(b.priority, b.revision);
  });
  if (ranges.size() > commits_at) add_commits(ranges[commits_at], from_step, view);
  if (ranges.size() <= hashes_at) return view;
  for (const EtcdKey& key : ranges[hashes_at]) {
    if (key.value.size() != 8) throw wrong(key, "8");
    uint64_t hash = 0;
    for (size_t i = 0; i < 8; ++i) hash |= uint64_t{static_cast<uint8_t>(key.value[i])} << 8 * i;
    view.hashes[number_of(key, last_part(key.key))] = hash;
  }
  return view;
}

EtcdTransaction LeaseRules::begin(const wire::LeasedRun& run, const wire::LeaseHolder& beginner,
                                  int64_t lease) const {
  return {.conditions = {{EtcdCondition::created, prefix_ + "run", 0}},
          .deletes = {},
          .puts = {{prefix_ + "run", run.SerializeAsString()},
                   {prefix_ + "leader", beginner.SerializeAsString(), lease}},
          .reads = {},
          .otherwise = {{prefix_ + "run"}, {prefix_ + "leader"}}};
}

std::optional<int64_t> LeaseRules::begun(const EtcdAnswer& answer, const wire::LeasedRun& run,
                                         const wire::LeaseHolder& beginner) {
  if (answer.holds) return answer.revision;
  if (answer.ranges.size() < 2 || answer.ranges[0].empty()) return std::nullopt;
  if (message_of<wire::LeasedRun>(answer.ranges[0][0]).nonce() != run.nonce()) return std::nullopt;
  const auto& leader = answer.ranges[1];
  const bool is_held = !leader.empty() && message_of<wire::LeaseHolder>(leader[0]).id() == beginner.id();
  return is_held ? leader[0].changed : 0;
}

EtcdTransaction LeaseRules::stand_by(const std::string& id, const wire::StandbyFacts& facts,
                                     int64_t lease) const {
  return {.conditions = {},
          .deletes = {},
          .puts = {{prefix_ + "standbys/" + id, facts.SerializeAsString(), lease}},
          .reads = {},
          .otherwise = {}};
}

uint64_t LeaseRules::next_term(const LeaseView& view, uint64_t journal_term) {
  return std::max(view.last ? view.last->term() : 0, journal_term) + 1;
}

/// Of a leader that has not ended the key has not changed; that of one whose lease has ended is not there.
/// The last one has not changed either, or somebody has led and gone in between.
EtcdTransaction LeaseRules::claim(const Claim& claim) const {
  EtcdTransaction out{
      .conditions = {{EtcdCondition::changed, prefix_ + "leader", claim.predecessor},
                     {EtcdCondition::changed, prefix_ + "last", claim.view.last_revision}},
      .deletes = {prefix_ + "standbys/" + claim.holder.id()},
      .puts = {{prefix_ + "leader", claim.holder.SerializeAsString(), claim.lease},
               {prefix_ + "last", claim.holder.SerializeAsString()}},
      .reads = {},
      .otherwise = {}};
  if (claim.goes_on_behind_end) {
    out.deletes.push_back(prefix_ + "end");
  } else {
    out.conditions.push_back({EtcdCondition::created, prefix_ + "end", 0});
  }
  return out;
}

std::optional<LeaderTerm> LeaseRules::is_held(const LeaseView& view, const std::string& holder_id) {
  if (!view.holder || view.holder->id() != holder_id) return std::nullopt;
  return LeaderTerm{view.holder->term(), view.holder_revision};
}

EtcdTransaction LeaseRules::write_once(const LeaderTerm& leader, const std::string& key,
                                       const std::string& value) const {
  return {.conditions = {{EtcdCondition::changed, prefix_ + "leader", leader.revision},
                         {EtcdCondition::created, key, 0}},
          .deletes = {},
          .puts = {{key, value}},
          .reads = {},
          .otherwise = {{prefix_ + "leader"}, {key}}};
}

EtcdTransaction LeaseRules::commit(const LeaderTerm& leader, uint64_t step,
                                   const std::string& record) const {
  return write_once(leader, step_key("commits", step), record);
}

EtcdTransaction LeaseRules::journal_hash(const LeaderTerm& leader, uint64_t step,
                                         uint64_t hash) const {
  return write_once(leader, step_key("hashes", step), value_of(hash));
}

EtcdTransaction LeaseRules::finish(const LeaderTerm& leader, const wire::LeasedEnd& end) const {
  return write_once(leader, prefix_ + "end", end.SerializeAsString());
}

/// What stands there already was written by an earlier try, if it is the same and nobody has led since. Who
/// has been followed is fenced either way: the successor has read what stands there.
Commitment LeaseRules::outcome(const EtcdAnswer& answer, const LeaderTerm& leader,
                               const std::string& value) const {
  if (answer.holds) return Commitment::committed;
  if (answer.ranges.size() < 2) {
    throw ClusterError("etcd has answered " + std::to_string(answer.ranges.size()) +
                       " ranges, wanted 2");
  }
  const auto& holder = answer.ranges[0];
  if (holder.empty() || holder[0].changed != leader.revision) return Commitment::fenced;
  const auto& written = answer.ranges[1];
  if (!written.empty() && written[0].value == value) return Commitment::committed;
  throw ClusterError("etcd holds something else under " +
                     (written.empty() ? "a key" : written[0].key) +
                     " than this leader has written there: another program writes below " + prefix_);
}

bool is_turn_of(const std::string& id, const std::vector<LeaseView::Standby>& standbys, double vacant,
                double turn) {
  const auto place = std::find_if(standbys.begin(), standbys.end(),
                                  [&](const auto& one) { return one.id == id; });
  return place != standbys.end() &&
         vacant >= turn * static_cast<double>(place - standbys.begin());
}

}  // namespace troupe::runtime
