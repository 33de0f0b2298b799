#pragma once

#include <map>
#include <set>
#include <span>

#include "actors/lane_actor.h"
#include "actors/train/shard_group.h"
#include "actors/train/shard_memory.h"
#include "actors/train/state_guard.h"

namespace troupe::actors {

/// A set of state blocks (actors/placement/placement.h deals them): their gradients' norms, and their update
/// when a step is committed. Where other processes compute with its blocks, it sums what their shards
/// send of the gradient before a norm is taken, and sends them the new weights behind the update; it
/// is in turn the one of its process that does so for blocks of others (optimizer_exchange.cpp).
class OptimizerShardActor : public LaneActor<OptimizerShard> {
 public:
  OptimizerShardActor(caf::actor_config& config, std::shared_ptr<Company> company,
                      const Address& address, runtime::Cell* cell);

  behavior_type make_behavior() override;
  void on_exit() override;

 private:
  using PreparedPtr = std::shared_ptr<caf::typed_response_promise<Pb<wire::Prepared>>>;
  using AppliedPtr = std::shared_ptr<caf::typed_response_promise<Pb<wire::Applied>>>;
  /// Goes on when certain messages of others have been taken.
  struct Waiting {
    Verb verb;
    uint64_t step;
    std::set<int> senders;       // shards that have not been heard
    std::function<void()> then;  // in this actor
    wire::Epoch epoch = {};      // of what is restored, which comes again in another attempt
  };

  caf::result<void> begin(const Pb<wire::BeginStep>& step);
  caf::result<Pb<wire::Prepared>> prepare(const Pb<wire::BeginStep>& step);
  caf::result<Pb<wire::Applied>> commit(const Pb<wire::StepRecord>& record, bool with_hashes);
  caf::result<void> gather(const Pb<wire::StepRecord>& record);
  caf::result<void> scatter(const Pb<wire::StepRecord>& record);
  caf::result<void> restore(const Pb<wire::StepRecord>& record, int process);
  void gradients(const TokenMessage& message);
  void weights(const TokenMessage& message);
  void state(const TokenMessage& message);
  void reduced(const TokenMessage& message);
  void restored(const TokenMessage& message);

  void apply_when_idle(const AppliedPtr& promise, const Pb<wire::StepRecord>& record, bool with_hashes);
  void answer_commit(const AppliedPtr& promise, uint64_t step, bool with_hashes);
  std::vector<kernels::ConstTensor> summed_gradients();
  std::shared_ptr<kernels::Buffer> take_norms(const wire::BeginStep& step);
  void answer_prepare(const Pb<wire::BeginStep>& step, const PreparedPtr& promise,
                      const std::shared_ptr<kernels::Buffer>& norms);
  void apply(const wire::StepRecord& record);
  void apply_blocks(const wire::StepRecord& record, const std::vector<int64_t>& blocks,
                    const std::vector<runtime::BlockRange>& ranges);
  void record_weights(const wire::BeginStep& step);
  void record_gradients(const wire::BeginStep& step);
  StateGuard make_guard() const;

  int messages_of(const std::vector<int64_t>& blocks) const;
  std::span<const int64_t> blocks_of_message(const std::vector<int64_t>& blocks, int number) const;
  template <class Atom>
  void send_sums(int to, Atom atom, int number, ShardMemory::Tensors tensors);
  void heard_sums(Verb verb, const wire::UnitId& id, const std::vector<int64_t>& blocks);
  void prepare_together(const Pb<wire::BeginStep>& step, const PreparedPtr& promise);
  template <class Promise>
  ShardGroup::Done unless_it_fails(const Promise& promise, std::function<void()> f);
  void give_copies(const PreparedPtr& promise, std::function<void()> next);
  void hand_out_together(const AppliedPtr& promise, const Pb<wire::StepRecord>& record, bool with_hashes);
  void send_gradients();
  void send_reduced();
  void send_copies(const wire::StepRecord& record);
  void send_restored(const RestoreEdge& edge, uint64_t state, const wire::TokenHeader& header);
  void expect_to_send(const std::vector<int64_t>& blocks, uint64_t state);
  void send_weights_of(const BlockEdge& edge, const wire::StepRecord& record);
  bool gets_weights(const BlockEdge& edge) const;
  std::set<int> senders_of_weights() const;
  void send_weights(const wire::StepRecord& record);
  template <class Atom>
  void send_states(const std::vector<BlockEdge>& edges, Atom atom, const wire::StepRecord& record);
  void add_gradients();
  void take_when_done(const TokenMessage& message, Verb verb);
  void wait_for(Waiting waiting);
  void heard(Verb verb, uint64_t step, int sender, const wire::Epoch& epoch = {});
  Address shard(int index) const { return {Role::optimizer_shard, 0, 0, index}; }
  const BlockEdge& edge_from(const TokenMessage& message, const std::vector<BlockEdge>& edges) const;

  ShardMemory memory_;
  ShardGroup group_;
  const std::vector<int64_t> blocks_;
  // Redundancy: the shard that holds copies of ours, and whose blocks we hold copies of; -1: none.
  const int buddy_, ward_;
  const std::vector<int64_t> ward_blocks_;
  const std::vector<runtime::BlockRange> ranges_, ward_ranges_;  // of both
  std::vector<BlockEdge> used_of_ward_;  // by others than this process
  // With shards of other processes: blocks that they use of ours, and that we use of theirs.
  std::vector<BlockEdge> used_by_others_, owned_by_others_;
  std::vector<BlockEdge> to_first_, from_others_;  // whole states: ours to process 0, theirs to us
  StateGuard guard_;
  uint64_t applies_ = 0;                           // that this life has put into its lane
  std::vector<TokenMessage> unadded_;              // gradients that came before we were to prepare
  bool may_add_ = false;                           // this process's own sums are complete
  std::vector<int> other_users_;                   // by block id: of blocks of ours
  std::vector<int> missing_sums_;                  // of those, in the step
  int reduced_sent_ = 0;                           // messages of complete sums that the buddy gets
  std::map<std::pair<Verb, int>, int> sums_come_;  // messages of the step, by verb and sender
  using Taken = std::tuple<Verb, uint64_t, int, uint64_t, uint64_t>;  // verb, step, sender, epoch
  static Taken taken(Verb verb, uint64_t step, int sender, const wire::Epoch& epoch) {
    return {verb, step, sender, epoch.term(), epoch.n()};
  }
  std::set<Taken> taken_;
  std::vector<Waiting> waiting_;
};

}  // namespace troupe::actors
