// How long a step of a plan takes, and what it sends: a prediction from a few rates.
#pragma once

#include "config/plan/planner.h"
#include "config/schedule/simulator.h"

namespace troupe::config {

struct MachineRates {
  double flops;      ///< floating-point operations a second that a process reaches
  double bandwidth;  ///< bytes a second that a process sends to others; 0: transfers take no time
};

/// Bytes of rows, gradients and weights that a step sends between processes, all of them together.
struct WireBytes {
  double pipeline;  ///< activations and their gradients between stages
  double experts;   ///< rows to experts and back, forward and backward
  double state;     ///< gradients to the owners of blocks, new weights back

  double total() const { return pipeline + experts + state; }
};

/// As the wire format has them: between stages rows in FP32, to experts and back as ExpertTraffic
/// says; gradients of 8 bytes and weights of 4 for each process that uses parameters and does not
/// own them. Every expert is taken to be asked alike.
WireBytes wire_bytes(const PlanArgs& args, const Plan& plan);

/// Floating-point operations for one micro-batch of the run's largest step.
struct UnitWork {
  struct Part {
    int process;
    double flops;
  };
  std::vector<std::vector<Part>> workers;  ///< of each data worker, for one of its own; without experts that serve all
  std::vector<double> experts;  ///< of each process, for anybody's; every expert is asked alike
};
UnitWork unit_work(const PlanArgs& args, const Plan& plan);

/// Of each process in a step of which each data worker takes so many micro-batches.
std::vector<double> process_flops(const UnitWork& work, std::span<const int> shares);

struct StepPrediction {
  double seconds;
  double pipeline_seconds;  ///< forward and backward
  double state_seconds;     ///< gradients and weights between processes, behind the pipeline
  double idle_share;        ///< of the pipeline's time, of the rank that waits most
  WireBytes wire;
  ScheduleCosts costs;  ///< in seconds
};

/// Plays the schedule of the data worker with most micro-batches, in the run's largest step.
///
/// Assumes: the rate is reached by every operation, a third of them forward, a third backward for
/// inputs, a third for weights; workers of one process share its threads without loss; rows to
/// experts travel while another micro-batch is computed only where the schedule plays two side by
/// side; no time is taken by the optimizer, by messages themselves or by what is computed again.
/// `rates.flops` is greater than 0.
StepPrediction predict_step(const PlanArgs& args, const Plan& plan, const MachineRates& rates);

}  // namespace troupe::config
