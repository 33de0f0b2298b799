// What a node of a test holds.
#pragma once

#include "runtime/proto/cluster.pb.h"

namespace troupe::deploy {

inline wire::HeldPart part(int process, int processes) {
  wire::HeldPart part;
  part.set_process(process);
  part.set_processes(processes);
  part.set_buddy_stride(1);
  return part;
}

}  // namespace troupe::deploy
