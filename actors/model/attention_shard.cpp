#include "actors/model/attention_shard.h"

namespace troupe::actors {

AttentionShardActor::behavior_type AttentionShardActor::make_behavior() {
  return {
      seen("resume", [this](resume_atom, uint64_t ticket) { resume(ticket); }),
      seen("fault", [this](fault_atom, const std::string& what) { fail(what); }),
      seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); }),
      seen("forward", [this](forward_atom, const TokenMessage& message) { forward(message); }),
      seen("backward", [this](backward_atom, const TokenMessage& message) { backward(message); }),
      seen("report", [this](report_atom, uint64_t step) { return report(step); }),
  };
}

caf::result<void> AttentionShardActor::begin(const Pb<wire::BeginStep>& step) {
  if (caf::error stale = enters(Phase::begin, *step)) return stale;
  retire(passages_);
  begin_epoch(*step);
  return answer_when_done();
}

void AttentionShardActor::forward(const TokenMessage& message) {
  if (!takes(message, Phase::forward)) return;
  const int64_t layer = message.id().layer();
  auto passage = std::make_shared<Passage>(queue().device());
  passages_[{message.id().micro_batch(), message.id().layer()}] = passage;  // before what may throw
  passage->x = message.tensors.at(0);
  const int64_t T = passage->x.view.rows(), rows = company().sequence_rows(layer, numbers());
  passage->args = {.context = company().mla(numbers().phase),
                   .weights = company().tensors.attention(layer, view(message.id().micro_batch())),
                   .x = passage->x,
                   .positions = positions_of(T, rows),
                   .sequence_rows = rows};
  const kernels::Tensor y = passage->scratch.f32({T, passage->x.view.cols()});
  passage->saved =
      kernels::attention_block_forward(queue(), passage->scratch, passage->args, y);
  send_in_order({Role::stage, place().stage, place().worker}, attended_atom_v,
                 {answer_header(message.id(), place().index), {share(passage->scratch, y)}});
  let_go();
}

void AttentionShardActor::backward(const TokenMessage& message) {
  if (!takes(message, Phase::backward)) return;
  const int64_t layer = message.id().layer();
  const auto found = passages_.find({message.id().micro_batch(), message.id().layer()});
  if (found == passages_.end()) {
    return fail("backward of micro-batch " + std::to_string(message.id().micro_batch()) +
                ", layer " + std::to_string(layer) + " had no forward here");
  }
  const std::shared_ptr<Passage> passage = found->second;
  if (message.id().operation() == wire::BACKWARD) backward_inputs(message, *passage);
  if (message.header->leaves_weights()) return let_go();
  kernels::attention_block_backward_weights(queue(), passage->scratch, passage->args,
                                            passage->saved, passage->dy,
                                            company().tensors.attention_gradients(
                                                layer, view(message.id().micro_batch())));
  if (message.id().operation() == wire::BACKWARD_WEIGHT) {
    send_in_order({Role::stage, place().stage, place().worker}, attended_atom_v,
                   {answer_header(message.id(), place().index), {}});
  }
  release_when_done(passage);
  passages_.erase(found);
}

void AttentionShardActor::backward_inputs(const TokenMessage& message, Passage& passage) {
  passage.dy = message.tensors.at(0);
  const kernels::ConstTensor dy = passage.dy;
  const kernels::Tensor dx = passage.scratch.f32({dy.rows(), dy.cols()});
  kernels::attention_block_backward_inputs(queue(), passage.scratch, passage.args, passage.saved,
                                           dy, dx);
  send_in_order({Role::stage, place().stage, place().worker}, attended_atom_v,
                 {answer_header(message.id(), place().index), {share(passage.scratch, dx)}});
}

caf::result<Pb<wire::StepReport>> AttentionShardActor::report(uint64_t step) {
  if (caf::error none = lacks(step)) return none;
  return answer_when_done<Pb<wire::StepReport>>([] { return Pb<wire::StepReport>(wire::StepReport()); });
}

kernels::Tensor AttentionShardActor::positions_of(int64_t rows, int64_t sequence_rows) {
  const int64_t sequences = rows / sequence_rows;
  kernels::Buffer& kept = positions_[{sequences, sequence_rows}];
  if (!kept) kept = positions(sequences, sequence_rows);
  return kept;
}

}  // namespace troupe::actors
