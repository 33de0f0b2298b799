#include "actors/model/expert_shard.h"

namespace troupe::actors {

ExpertShardActor::behavior_type ExpertShardActor::make_behavior() {
  return {
      seen("resume", [this](resume_atom, uint64_t ticket) { resume(ticket); }),
      seen("fault", [this](fault_atom, const std::string& what) { fail(what); }),
      seen("begin", [this](begin_atom, const Pb<wire::BeginStep>& step) { return begin(step); }),
      seen("forward", [this](forward_atom, const TokenMessage& message) { forward(message); }),
      seen("backward", [this](backward_atom, const TokenMessage& message) { backward(message); }),
      seen("report", [this](report_atom, uint64_t) { return report(); }),
  };
}

caf::result<void> ExpertShardActor::begin(const Pb<wire::BeginStep>& step) {
  if (caf::error stale = enters(Phase::begin, *step)) return stale;
  retire(passages_);
  begin_epoch(*step);
  return answer_when_done();
}

Address ExpertShardActor::router_of(const wire::UnitId& id) {
  return {Role::router, place().stage, company().worker_of(static_cast<int>(id.micro_batch())),
          id.layer()};
}

Pb<wire::TokenHeader> ExpertShardActor::answer(const Passage& passage, const wire::UnitId& id) {
  wire::TokenHeader header = *answer_header(id, place().index);
  header.mutable_offsets()->Add(passage.args.offsets.begin(), passage.args.offsets.end());
  return header;
}

void ExpertShardActor::forward(const TokenMessage& message) {
  if (!takes(message, Phase::forward)) return;
  const int64_t layer = message.id().layer();
  const auto& range = company().plan.experts[static_cast<size_t>(place().index)];
  auto passage = std::make_shared<Passage>();
  passages_[{message.id().micro_batch(), message.id().layer()}] = passage;  // before what may throw
  passage->rows = message.tensors.at(0);
  passage->args.offsets.assign(message.header->offsets().begin(), message.header->offsets().end());
  passage->args.x = passage->rows;
  passage->args.options = ffn_options(company().recipe, true);
  const StepView step = view(message.id().micro_batch());
  for (int64_t e = range.first; e < range.first + range.count; ++e) {
    passage->args.weights.push_back(company().tensors.expert(layer, e, step));
  }
  passage->saved = kernels::experts_forward(queue(), passage->scratch, passage->args);
  send_when_done(router_of(message.id()), expert_rows_atom_v,
                 {answer(*passage, message.id()), {share(passage->scratch, passage->saved.y)}});
}

void ExpertShardActor::backward(const TokenMessage& message) {
  if (!takes(message, Phase::backward)) return;
  const int64_t layer = message.id().layer();
  const auto found = passages_.find({message.id().micro_batch(), message.id().layer()});
  if (found == passages_.end()) {
    return fail("backward of micro-batch " + std::to_string(message.id().micro_batch()) +
                ", layer " + std::to_string(layer) + " had no forward here");
  }
  const std::shared_ptr<Passage> passage = found->second;
  passage->dy = message.tensors.at(0);
  passage->weights = message.tensors.at(1);
  const int64_t R = passage->dy.view.rows();
  const kernels::Tensor dx = passage->scratch.f32({R, passage->dy.view.cols()});
  const kernels::Tensor dweights = passage->scratch.f32({R});
  kernels::experts_backward_inputs(queue(), passage->scratch, passage->args, passage->saved,
                                   {.dy = passage->dy, .weights = passage->weights, .dx = dx,
                                    .dweights = dweights});
  send_when_done(router_of(message.id()), expert_rows_atom_v,
                 {answer(*passage, message.id()),
                  {share(passage->scratch, dx), share(passage->scratch, dweights)}});
  const auto& range = company().plan.experts[static_cast<size_t>(place().index)];
  const StepView step = view(message.id().micro_batch());
  std::vector<kernels::FfnGradients> gradients;
  for (int64_t e = range.first; e < range.first + range.count; ++e) {
    gradients.push_back(company().tensors.expert_gradients(layer, e, step));
  }
  kernels::experts_backward_weights(queue(), passage->scratch, passage->args, passage->saved,
                                    gradients);
  release_when_done(passage);
  passages_.erase(found);
}

caf::result<Pb<wire::StepReport>> ExpertShardActor::report() {
  return answer_when_done<Pb<wire::StepReport>>([] { return Pb<wire::StepReport>(wire::StepReport()); });
}

}  // namespace troupe::actors
