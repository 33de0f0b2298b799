// What a router computes of one layer and micro-batch: the gate, the balance loss, rows to and
// from the holders of experts.
#pragma once

#include <vector>

#include "actors/model/expert_holders.h"
#include "actors/model/tensors.h"
#include "kernels/layers/moe/dispatch.h"
#include "kernels/layers/moe/moe_gate.h"

namespace troupe::actors {

/// Rows for one holder of experts in this process.
struct DispatchedRows {
  std::vector<int64_t> offsets;  ///< rows of each of its experts
  kernels::ConstTensor rows;     ///< [R, D]: x, or dy in backward; with an index [T, D]
  kernels::Tensor index;         ///< [R] i32: which of the rows, where experts gather them; or none
  kernels::Tensor weights;       ///< [R] routing weights; backward alone
};

/// Rows for the holders of experts in another process: each token once, however many of its experts
/// are there (report section 3.2.2: a token crosses to a node once).
struct HostRows {
  struct Part {
    int shard;
    std::vector<int64_t> offsets;  ///< rows of each of its experts
    kernels::Tensor index;         ///< [R] i32: which of the packed rows; forward alone
    kernels::Tensor weights;       ///< [R] routing weights; forward alone
  };
  std::vector<kernels::Tensor> packed;  ///< [U, D]: x, or dy in backward (kernels/layers/moe/dispatch.h)
  std::vector<Part> parts;              ///< ascending; the first shard takes them in
};

struct Dispatched {
  std::vector<DispatchedRows> here;  ///< by shard; those of other processes without rows
  std::vector<HostRows> there;
};

/// What a holder answers with.
struct ExpertAnswer {
  kernels::ConstTensor rows;     ///< of experts; from another process: those that are in no sum
  kernels::ConstTensor sums;     ///< of routing groups, packed; from another process alone
  kernels::ConstTensor dweights; ///< backward alone
};

/// Forward: choose, then (the queue has passed) dispatch and balance, then combine. Backward: dispatch_backward,
/// combine_backward, backward_weights.
class RoutedBlock {
 public:
  RoutedBlock(const ModelTensors& tensors, const Recipe& recipe, int64_t layer, StepView step,
              ExpertHolders holders);

  /// x is [T, D], normed; bias is [E].
  void choose(kernels::Queue& queue, kernels::Scratch& scratch, const kernels::ConstTensor& x,
              const kernels::ConstTensor& bias);

  /// Needs the choice on the host. One entry a holder, empty ones too.
  Dispatched dispatch(kernels::Queue& queue, kernels::Scratch& scratch);

  /// The balance loss and its gradient, which nobody waits for in forward.
  void balance(kernels::Queue& queue, kernels::Scratch& scratch, int64_t sequence_rows,
               int64_t step_sequences);

  /// The weighted sum of the experts' rows by law 2, [T, D]. Answers by shard.
  kernels::Tensor combine(kernels::Queue& queue, kernels::Scratch& scratch,
                          const std::vector<ExpertAnswer>& answers);

  Dispatched dispatch_backward(kernels::Queue& queue, kernels::Scratch& scratch,
                               const kernels::ConstTensor& dy);
  /// Gradient of x, [T, D]: through the experts (law 2's order), then through the gate.
  kernels::Tensor combine_backward(kernels::Queue& queue, kernels::Scratch& scratch,
                                   const std::vector<ExpertAnswer>& answers);
  void backward_weights(kernels::Queue& queue, kernels::Scratch& unit_scratch) const;

  /// After the choice: tokens of each expert, [E] i64.
  std::vector<int64_t> loads() const;
  /// After `balance`: the loss as one number.
  float balance_loss() const;
  const kernels::GateSaved& gate() const { return gate_; }
  /// After dispatch: bytes of all rows that go to other processes and come back, forward and backward,
  /// as the format has them: each token once a process, a sum a group.
  int64_t crossing_bytes() const { return crossing_bytes_; }

 private:
  void plan_hosts(int64_t tokens);
  void plan_sums(int shard);
  kernels::Tensor gather(kernels::Queue& queue, kernels::Scratch& scratch, const kernels::ConstTensor& rounded,
                         const kernels::Tensor& index) const;
  Dispatched gather_here(kernels::Queue& queue, kernels::Scratch& scratch, kernels::Dispatched what,
                         const kernels::ConstTensor& x) const;
  void pack_there(kernels::Queue& queue, kernels::Scratch& scratch, kernels::Dispatched what,
                  const kernels::ConstTensor& x, Dispatched& out) const;
  Dispatched cut_gathered() const;
  Dispatched hand_table(const kernels::ConstTensor& table) const;
  /// Whether experts of this process gather their rows: on tensor cores, where they weigh them or
  /// make codes of them as they do. Not where somebody is shown what each of them gets.
  bool hands_tables(const kernels::Queue& queue) const {
    return is_narrow(queue) && step_.recorder == nullptr;
  }
  /// Whether rows that experts read are bf16.
  bool is_narrow(const kernels::Queue& queue) const {
    return kernels::is_of_tensor_cores(queue, recipe_.precision);
  }
  std::vector<kernels::Tensor> pack(kernels::Queue& queue, kernels::Scratch& scratch, size_t host,
                                    kernels::Dispatched what, const kernels::ConstTensor& x) const;
  kernels::Tensor weights_of(kernels::Queue& queue, kernels::Scratch& scratch, size_t shard) const;
  kernels::Tensor combine_answers(kernels::Queue& queue, kernels::Scratch& scratch,
                                  const std::vector<ExpertAnswer>& answers,
                                  const kernels::ConstTensor& weights) const;
  /// Both combines are BF16 unless everything is FP32 (report section 3.3.3).
  bool rounds_groups() const { return recipe_.precision != kernels::Precision::fp32; }
  kernels::GateBackwardArgs gate_args(const kernels::Tensor& dx) const;

  const ModelTensors& tensors_;
  const Recipe& recipe_;
  const int64_t layer_;
  const StepView step_;
  const ExpertHolders holders_;
  kernels::ConstTensor x_;
  kernels::GateSaved gate_;
  kernels::Tensor gathered_;  // [T K, D]: the rows of all sources, where all of them are here
  kernels::ConstTensor table_;  // [T, D]: instead, where experts gather them
  kernels::Tensor balance_losses_, dscores_, dweights_, dlogits_;
  kernels::Dispatch plan_;
  kernels::Dispatch host_plan_;                   // its tables on the host, where there are others
  kernels::Tensor combine_source_, combine_row_;  // [T, K] i32: of the answers, sums behind rows
  struct Host {
    kernels::Buffer tokens;              // [U] i32: whose rows travel
    std::vector<kernels::Buffer> index;  // by shard of it: [R] i32 into those
  };
  std::vector<Host> hosts_;
  int64_t crossing_bytes_ = 0;
  std::vector<bool> is_there_;  // by shard: in another process
};

}  // namespace troupe::actors
