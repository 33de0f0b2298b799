// The program that DualPipe and DualPipeV share.
#pragma once

#include <vector>

#include "config/schedule/schedule.h"

namespace troupe::config {

/// One of the two streams of micro-batches that meet at a rank: which stage they pass there.
struct Stream {
  int stage;
  std::vector<int> micro_batches;
};

struct BidirectionalArgs {
  int to_middle;  ///< ranks between this one and where the streams meet; 0 there
  int to_end;     ///< ranks between this one and its end of the pipeline; 0 there
  Stream own;     ///< enters at this rank's end of the pipeline
  Stream facing;  ///< as many micro-batches: at least 2 x (to_middle + to_end + 1)
};

/// One rank's list: micro-batches of `own` are run ahead, then every forward of one stream is
/// played beside a backward of the other. Source: DeepSeek's DualPipe, the eight steps of its rank
/// program (report, figure 5).
std::vector<Operation> bidirectional_list(const BidirectionalArgs& args);

}  // namespace troupe::config
