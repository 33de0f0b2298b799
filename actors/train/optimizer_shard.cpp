#include "actors/train/optimizer_shard.h"

#include <algorithm>
#include <cstring>

#include "actors/control/commit.h"
#include "actors/train/apply_block.h"
#include "runtime/state/gpu_mirror.h"
#include "runtime/state/hash.h"

namespace troupe::actors {
namespace {

/// What belongs to an attempt of a step, and goes with it.
bool is_of_step(Verb verb) { return verb == Verb::gradients || verb == Verb::reduced; }

/// Of all tensors that the process adds to or holds copies of.
void lay_together(Company& company) {
  std::vector<int> held;
  const std::vector<runtime::Block>& blocks = company.arena.blocks();
  for (size_t id = 0; id < blocks.size(); ++id) {
    if (!held.empty() && held.back() == blocks[id].tensor) continue;
    const Share share = company.placement.share(company.process, static_cast<int64_t>(id));
    if (share != Share::none) held.push_back(blocks[id].tensor);
  }
  company.arena.mirror()->lay_together(held);
}

wire::UnitHash unit_of(const Company& company, wire::UnitHash::Kind kind, int64_t id) {
  const runtime::Block& block = company.arena.blocks()[static_cast<size_t>(id)];
  wire::UnitHash unit;
  unit.set_kind(kind);
  unit.set_tensor(static_cast<uint32_t>(block.tensor));
  unit.set_part(static_cast<uint32_t>(block.index));
  return unit;
}

}  // namespace

OptimizerShardActor::OptimizerShardActor(caf::actor_config& config,
                                         std::shared_ptr<Company> company,
                                         const Address& address, runtime::Cell* cell)
    : Super(config, company, address, cell),
      memory_(company->arena, queue()),
      group_(*company, memory_, queue(), address.index),
      blocks_(company->placement.owned_by(address.index)),
      buddy_(company->placement.buddy(address.index)),
      ward_(company->placement.ward(address.index)),
      ward_blocks_(ward_ < 0 ? std::vector<int64_t>() : company->placement.owned_by(ward_)),
      ranges_(company->arena.ranges(blocks_)),
      ward_ranges_(company->arena.ranges(ward_blocks_)) {
  const auto own = [&](std::vector<BlockEdge>& mine, const BlockEdge& edge, int end) {
    if (end == address.index) mine.push_back(edge);
  };
  for (const BlockEdge& edge : company->placement.edges()) {
    own(used_by_others_, edge, edge.owner);
    own(owned_by_others_, edge, edge.user);
    if (edge.owner == ward_ && edge.user != address.index) used_of_ward_.push_back(edge);
  }
  for (const BlockEdge& edge : company->placement.edges_to_first()) {
    own(to_first_, edge, edge.owner);
    own(from_others_, edge, edge.user);
  }
  other_users_.resize(company->arena.blocks().size());
  for (const BlockEdge& edge : used_by_others_) {
    for (const int64_t id : edge.blocks) ++other_users_[static_cast<size_t>(id)];
  }
  guard_ = make_guard();
  if (queue().is_cuda() && company->has_others()) lay_together(*company);
}

/// Of everything that is held here; of what goes into the run's hash alone where states are not verified.
StateGuard OptimizerShardActor::make_guard() const {
  if (!company().verifies_state) return {blocks_, {}};
  std::vector<int64_t> whole = blocks_, weights;
  whole.insert(whole.end(), ward_blocks_.begin(), ward_blocks_.end());
  for (const BlockEdge& edge : owned_by_others_) {
    if (gets_weights(edge)) weights.insert(weights.end(), edge.blocks.begin(), edge.blocks.end());
  }
  return {std::move(whole), std::move(weights)};
}

void OptimizerShardActor::on_exit() {
  waiting_.clear();
  group_.leave();
  Super::on_exit();
}

OptimizerShardActor::behavior_type OptimizerShardActor::make_behavior() {
  return {
      seen("resume", [this](resume_atom, uint64_t ticket) { resume(ticket); }),
      seen("fault", [this](fault_atom, const std::string& what) { fail(what); }),
      seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); }),
      seen("prepare",
           [this](prepare_atom, const Pb<wire::BeginStep>& step) { return prepare(step); }),
      seen("commit",
           [this](commit_atom, const Pb<wire::StepRecord>& record, bool with_hashes) {
             return commit(record, with_hashes);
           }),
      seen("gradients", [this](gradients_atom, const TokenMessage& m) { gradients(m); }),
      seen("weights", [this](weights_atom, const TokenMessage& m) { weights(m); }),
      seen("state", [this](state_atom, const TokenMessage& m) { state(m); }),
      seen("reduced", [this](reduced_atom, const TokenMessage& m) { reduced(m); }),
      seen("restored", [this](restored_atom, const TokenMessage& m) { restored(m); }),
      seen("restore",
           [this](restore_atom, const Pb<wire::StepRecord>& record, int32_t process) {
             return restore(record, process);
           }),
      seen("gather",
           [this](gather_atom, const Pb<wire::StepRecord>& record) { return gather(record); }),
      seen("scatter",
           [this](scatter_atom, const Pb<wire::StepRecord>& record) { return scatter(record); }),
  };
}

caf::result<void> OptimizerShardActor::begin(const Pb<wire::BeginStep>& step) {
  if (caf::error stale = enters(Phase::begin, *step)) return stale;
  begin_epoch(*step);
  if (!group_.begin(*step)) {
    return runtime::make_error(runtime::Errc::stale_epoch,
                               "step " + std::to_string(step->step()) + " begins in a group that " +
                                   to_string(place()) + " is none of");
  }
  unadded_.clear();
  sums_come_.clear();
  may_add_ = false;
  reduced_sent_ = 0;
  missing_sums_ = other_users_;
  std::erase_if(taken_, [](const auto& one) { return is_of_step(std::get<0>(one)); });
  std::erase_if(waiting_, [](const Waiting& one) { return is_of_step(one.verb); });
  const auto begin_with = [&](const std::vector<int64_t>& blocks,
                              const std::vector<runtime::BlockRange>& ranges) {
    runtime::StateArena& arena = company().arena;
    expect_state(queue(), arena, ranges, step->step() - 1, "begin step " + std::to_string(step->step()));
    queue().is_cuda() ? arena.clear_ranges(queue(), ranges) : arena.clear_gradients(queue(), blocks);
  };
  begin_with(blocks_, ranges_);
  for (const BlockEdge& edge : owned_by_others_) begin_with(edge.blocks, company().arena.ranges(edge.blocks));
  record_weights(*step);
  return answer_when_done();
}

caf::result<Pb<wire::Prepared>> OptimizerShardActor::prepare(const Pb<wire::BeginStep>& step) {
  if (caf::error stale = enters(Phase::prepare, *step)) return stale;
  if (caf::error none = lacks(*step)) return none;
  if (!queue().is_cuda() || company().units) {
    company().arena.fetch_gradients(queue(), blocks_);
    for (const BlockEdge& edge : owned_by_others_) {
      company().arena.fetch_gradients(queue(), edge.blocks);
    }
  }
  record_gradients(*step);
  const auto promise = promised(make_response_promise<Pb<wire::Prepared>>());
  if (group_.is_joined()) {
    prepare_together(step, promise);
    return *promise;
  }
  send_gradients();
  may_add_ = true;
  send_reduced();
  add_gradients();
  std::set<int> senders;
  for (const BlockEdge& edge : used_by_others_) senders.insert(edge.user);
  wait_for({Verb::gradients, step->step(), std::move(senders), [this, step, promise] {
              const auto norms = take_norms(*step);  // while the ward's sums are on their way
              std::set<int> ward;
              if (ward_ >= 0) ward.insert(ward_);
              wait_for({Verb::reduced, step->step(), std::move(ward),
                        [this, step, promise, norms] { answer_prepare(step, promise, norms); }});
            }});
  return *promise;
}

/// Of each of its blocks: f64 in memory of as many bytes, when the lane has passed.
std::shared_ptr<kernels::Buffer> OptimizerShardActor::take_norms(const wire::BeginStep& step) {
  static_assert(sizeof(double) == sizeof(int64_t));
  auto memory = std::make_shared<kernels::Buffer>(
      kernels::allocate_shared(kernels::DType::i64, {static_cast<int64_t>(blocks_.size())}));
  kernels::squared_norms(queue(), {.gradients = summed_gradients(), .block = runtime::block_elements,
                                   .scale_bits = step.scale_bits(),
                                   .sums = static_cast<double*>(memory->view.data)});
  release_when_done(memory);  // a new epoch drops the answer, not what is in the lane
  return memory;
}

void OptimizerShardActor::answer_prepare(const Pb<wire::BeginStep>& step, const PreparedPtr& promise,
                                         const std::shared_ptr<kernels::Buffer>& memory) {
  std::shared_ptr<const std::vector<uint8_t>> differs;
  if (company().verifies_state) {
    differs = guard_.check(queue(), company().arena, step->step() - 1);
  }
  deliver_when_done(*promise, [this, memory, differs, step, promise] {
    const auto* const norms = static_cast<const double*>(memory->view.data);
    wire::Prepared prepared;
    *prepared.mutable_epoch() = step->epoch();
    prepared.set_step(step->step());
    prepared.mutable_blocks()->Add(blocks_.begin(), blocks_.end());
    prepared.mutable_squared_norms()->Add(norms, norms + blocks_.size());
    prepared.set_faults(company().arena.faults());
    if (differs) {
      for (const int64_t id : guard_.damaged(*differs)) prepared.add_damaged(static_cast<uint64_t>(id));
    }
    promise->deliver(Pb<wire::Prepared>(std::move(prepared)));
  });
}

/// Of its blocks, where this shard's lane computes: ranges of neighbours.
std::vector<kernels::ConstTensor> OptimizerShardActor::summed_gradients() {
  std::vector<kernels::ConstTensor> out;
  for (const runtime::BlockRange& range : ranges_) out.push_back(memory_.gradient(range));
  return out;
}

/// What the step reads: state N - 1, of which this shard holds its blocks.
void OptimizerShardActor::record_weights(const wire::BeginStep& step) {
  Company& all = company();
  if (!blocks_.empty() && takes_flip()) {
    queue().run(1, [&all, block = blocks_[0], state = step.step() - 1](int64_t) {
      flip_bit(all.arena.block(block, state).weight);
    });
  }
  if (!all.units) return;
  queue().run(static_cast<int64_t>(blocks_.size()),
              [&all, blocks = blocks_,
               step = runtime::unit_epoch(step.epoch(), step.step())](int64_t i) {
                const int64_t id = blocks[static_cast<size_t>(i)];
                const runtime::BlockState block = all.arena.block(id, step.step - 1);
                all.units->record(step, unit_of(all, wire::UnitHash::WEIGHTS, id),
                                  {block.weight, block.moment1, block.moment2, block.ema});
              });
}

void OptimizerShardActor::record_gradients(const wire::BeginStep& step) {
  Company& all = company();
  if (!blocks_.empty() && takes_flip()) {
    queue().run(1, [sums = all.arena.mutable_block_gradient(blocks_[0])](int64_t) { flip_bit(sums); });
  }
  if (!all.units) return;
  queue().run(static_cast<int64_t>(blocks_.size()),
              [&all, blocks = blocks_,
               step = runtime::unit_epoch(step.epoch(), step.step())](int64_t i) {
                const int64_t id = blocks[static_cast<size_t>(i)];
                all.units->record(step, unit_of(all, wire::UnitHash::GRADIENT_SUM, id),
                                  {all.arena.block_gradient(id)});
              });
}

caf::result<Pb<wire::Applied>> OptimizerShardActor::commit(const Pb<wire::StepRecord>& record,
                                                           bool with_hashes) {
  if (record->is_together() && !group_.is_joined()) {
    return runtime::make_error(runtime::Errc::stale_epoch,
                               "step " + std::to_string(record->step()) + " is applied in a group that " +
                                   to_string(place()) + " is none of");
  }
  comes_to(Phase::commit, record->step());
  if (!record->is_together()) group_.leave();
  const auto promise = promised(make_response_promise<Pb<wire::Applied>>());
  apply_when_idle(promise, record, with_hashes);
  return *promise;
}

/// The lane may hold what an earlier life of this shard has begun to apply: how far the blocks are
/// is known when it is empty. A commit that is told again before it has been applied finds it full anew, and
/// waits for that too: it would write again what others read meanwhile.
void OptimizerShardActor::apply_when_idle(const AppliedPtr& promise, const Pb<wire::StepRecord>& record,
                                          bool with_hashes) {
  when_done([this, promise, record, with_hashes, before = applies_] {
    if (applies_ != before) return apply_when_idle(promise, record, with_hashes);
    ++applies_;
    apply(*record);
    if (record->is_together()) return hand_out_together(promise, record, with_hashes);
    send_weights(*record);
    wait_for({Verb::weights, record->step(), senders_of_weights(), [this, promise, record, with_hashes] {
                answer_commit(promise, record->step(), with_hashes);
              }});
  });
}

void OptimizerShardActor::answer_commit(const AppliedPtr& promise, uint64_t step, bool with_hashes) {
  std::shared_ptr<const std::vector<uint64_t>> hashes;
  if (with_hashes) hashes = guard_.note(queue(), company().arena, step);
  deliver_when_done(*promise, [this, promise, step, hashes] {
    wire::Applied applied;
    applied.set_step(step);
    if (hashes) {
      applied.mutable_blocks()->Add(blocks_.begin(), blocks_.end());
      const auto ward = hashes->begin() + static_cast<int64_t>(blocks_.size());
      applied.mutable_hashes()->Add(hashes->begin(), ward);
      if (company().verifies_state) {
        applied.mutable_kept_blocks()->Add(ward_blocks_.begin(), ward_blocks_.end());
        applied.mutable_kept_hashes()->Add(ward, ward + static_cast<int64_t>(ward_blocks_.size()));
      }
    }
    promise->deliver(Pb<wire::Applied>(std::move(applied)));
  });
}

/// The same to the ward's blocks: a function of what is held and of the record (commit law).
void OptimizerShardActor::apply(const wire::StepRecord& record) {
  if (blocks_.empty()) comes_to(Phase::apply, record.step());
  apply_blocks(record, blocks_, ranges_);
  apply_blocks(record, ward_blocks_, ward_ranges_);
}

void OptimizerShardActor::apply_blocks(const wire::StepRecord& record,
                                       const std::vector<int64_t>& blocks,
                                       const std::vector<runtime::BlockRange>& ranges) {
  Company& all = company();
  const kernels::AdamWStep adamw = adamw_step(all.recipe, record);
  if (queue().is_cuda()) {
    const auto apply_some = [&](std::vector<runtime::BlockRange> some) {
      apply_ranges(queue(), all.arena,
                   {.ranges = std::move(some), .state = record.step(), .apply = record.apply(),
                    .adamw = adamw,
                    .weight_decay = [&all](int t) {
                      return weight_decay(all.recipe, all.arena.spec(t));
                    },
                    .ema_rate = ema_rate(all.recipe), .scale_bits = record.scale_bits()});
    };
    const bool stops_between = !company().failpoints.is_empty();
    if (!stops_between) return apply_some(ranges);
    const std::span<const int64_t> ids(blocks);
    apply_some(all.arena.ranges(ids.first(ids.size() / 2)));
    if (&blocks == &blocks_ && !blocks.empty()) comes_to(Phase::apply, record.step());
    return apply_some(all.arena.ranges(ids.subspan(ids.size() / 2)));
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    // Some blocks are on their way.
    if (&blocks == &blocks_ && i == blocks.size() / 2) comes_to(Phase::apply, record.step());
    const auto& spec = all.arena.spec(all.arena.blocks()[static_cast<size_t>(blocks[i])].tensor);
    apply_block(queue(), all.arena,
                {.block = blocks[i], .state = record.step(), .apply = record.apply(),
                 .adamw = adamw, .weight_decay = weight_decay(all.recipe, spec),
                 .ema_rate = ema_rate(all.recipe), .scale_bits = record.scale_bits()});
  }
}

}  // namespace troupe::actors
