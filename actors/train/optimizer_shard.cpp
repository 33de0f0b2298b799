#include "actors/train/optimizer_shard.h"

#include <cstring>

#include "actors/control/commit.h"
#include "actors/train/apply_block.h"
#include "runtime/state/hash.h"

namespace troupe::actors {
namespace {

std::vector<int64_t> blocks_of(const Company& company, int shard) {
  std::vector<int64_t> blocks;
  const auto count = static_cast<int64_t>(company.arena.blocks().size());
  for (int64_t id = shard; id < count; id += company.plan.optimizer_shards) blocks.push_back(id);
  return blocks;
}

}  // namespace

OptimizerShardActor::OptimizerShardActor(caf::actor_config& config,
                                         std::shared_ptr<Company> company, Address address)
    : Super(config, company), blocks_(blocks_of(*company, address.index)) {}

OptimizerShardActor::behavior_type OptimizerShardActor::make_behavior() {
  return {
      [this](resume_atom, uint64_t ticket) { resume(ticket); },
      [this](fault_atom, const std::string& what) { fail(what); },
      [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); },
      [this](prepare_atom, const Pb<wire::BeginStep>& step) { return prepare(step); },
      [this](commit_atom, const Pb<wire::StepRecord>& record, bool with_hashes) {
        return commit(record, with_hashes);
      },
  };
}

caf::result<void> OptimizerShardActor::begin(const Pb<wire::BeginStep>& step) {
  begin_epoch(*step);
  company().arena.clear_gradients(queue(), blocks_);
  return answer_when_done();
}

caf::result<Pb<wire::Prepared>> OptimizerShardActor::prepare(const Pb<wire::BeginStep>& step) {
  if (is_older(step->epoch(), this->step().epoch())) {
    return runtime::make_error(runtime::Errc::stale_epoch,
                               "prepare of step " + std::to_string(step->step()) +
                                   " belongs to an epoch that is over");
  }
  auto norms = std::make_shared<std::vector<double>>(blocks_.size());
  for (size_t i = 0; i < blocks_.size(); ++i) {
    kernels::squared_norm(queue(), {.gradient = company().arena.block_gradient(blocks_[i]),
                                    .scale_bits = step->scale_bits(), .sum = &(*norms)[i]});
  }
  return answer_when_done<Pb<wire::Prepared>>([this, norms, step] {
    wire::Prepared prepared;
    *prepared.mutable_epoch() = step->epoch();
    prepared.set_step(step->step());
    prepared.mutable_blocks()->Add(blocks_.begin(), blocks_.end());
    prepared.mutable_squared_norms()->Add(norms->begin(), norms->end());
    prepared.set_faults(company().arena.faults());
    return Pb<wire::Prepared>(std::move(prepared));
  });
}

caf::result<Pb<wire::Applied>> OptimizerShardActor::commit(const Pb<wire::StepRecord>& record,
                                                           bool with_hashes) {
  Company& all = company();
  const kernels::AdamWStep adamw = adamw_step(all.recipe, *record);
  for (const int64_t id : blocks_) {
    const auto& spec = all.arena.spec(all.arena.blocks()[static_cast<size_t>(id)].tensor);
    apply_block(queue(), all.arena,
                {.block = id, .state = record->step(), .apply = record->apply(), .adamw = adamw,
                 .weight_decay = weight_decay(all.recipe, spec),
                 .scale_bits = record->scale_bits()});
  }
  auto hashes = std::make_shared<std::vector<uint64_t>>(with_hashes ? blocks_.size() : 0);
  queue().run(static_cast<int64_t>(hashes->size()),
              [blocks = blocks_, &all, hashes, state = record->step()](int64_t i) {
                (*hashes)[static_cast<size_t>(i)] =
                    runtime::block_hash(all.arena, blocks[static_cast<size_t>(i)], state);
              });
  return answer_when_done<Pb<wire::Applied>>([this, hashes, record] {
    wire::Applied applied;
    applied.set_step(record->step());
    applied.mutable_blocks()->Add(blocks_.begin(), blocks_.end());
    applied.mutable_hashes()->Add(hashes->begin(), hashes->end());
    return Pb<wire::Applied>(std::move(applied));
  });
}

}  // namespace troupe::actors
