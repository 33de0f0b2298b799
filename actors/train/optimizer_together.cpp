// A step of an optimizer shard where those of all processes sum and hand out together (shard_group.h). What follows
// a failure goes by messages (optimizer_exchange.cpp), whatever was under way here.
#include "actors/train/optimizer_shard.h"

namespace troupe::actors {

/// Goes on when the group is through, or answers that it has failed: the step is begun again.
template <class Promise>
ShardGroup::Done OptimizerShardActor::unless_it_fails(const Promise& promise, std::function<void()> f) {
  return hears([promise, f = std::move(f)](const std::string& error) {
    if (error.empty()) return f();
    promise->deliver(runtime::make_error(runtime::Errc::late, error));
  });
}

void OptimizerShardActor::prepare_together(const Pb<wire::BeginStep>& step, const PreparedPtr& promise) {
  const auto sums = std::make_shared<const ShardGroup::Parts>(group_.sums());
  when_done([this, step, promise, sums] {  // this process's own are complete, zeros where it has added nothing
    group_.sum(*sums, unless_it_fails(promise, [this, step, promise] {
                 const auto norms = take_norms(*step);
                 if (buddy_ < 0) return answer_prepare(step, promise, norms);
                 give_copies(promise, [this, step, promise, norms] { answer_prepare(step, promise, norms); });
               }));
  });
}

/// What the buddy gets is rounded as an update rounds it; so is what comes of the ward.
void OptimizerShardActor::give_copies(const PreparedPtr& promise, std::function<void()> next) {
  const auto own = std::make_shared<const kernels::Buffer>(memory_.rounded_in_one(blocks_));
  const auto come = std::make_shared<const kernels::Buffer>(memory_.room_for_rounded(ward_blocks_));
  release_when_done(own);
  when_done([this, promise, own, come, next = std::move(next)] {
    const auto have_come = unless_it_fails(promise, [this, come, next] {
      memory_.set_rounded_gradients(ward_blocks_, {{come->view, come->memory}});
      release_when_done(come);
      next();
    });
    // The group has both until it is through with them, whatever becomes of this epoch.
    group_.give_copies(buddy_, own->view, ward_, come->view,
                       [own, come, have_come](const std::string& error) { have_come(error); });
  });
}

void OptimizerShardActor::hand_out_together(const AppliedPtr& promise, const Pb<wire::StepRecord>& record,
                                            bool with_hashes) {
  expect_to_send(blocks_, record->step());
  const auto weights = std::make_shared<const ShardGroup::Weights>(group_.weights(record->step()));
  when_done([this, promise, record, with_hashes, weights] {
    group_.hand_out(*weights, unless_it_fails(promise, [this, promise, record, with_hashes, weights] {
                      memory_.got_weights(weights->come, record->step());
                      answer_commit(promise, record->step(), with_hashes);
                    }));
  });
}

}  // namespace troupe::actors
