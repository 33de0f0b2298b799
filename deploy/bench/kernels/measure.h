#pragma once

#include <functional>
#include <string>
#include <vector>

#include "deploy/bench/kernels/families.h"
#include "deploy/bench/kernels/peer_library.h"
#include "deploy/bench/kernels/table.h"

namespace troupe::deploy::kernel_bench {

struct MeasureArgs {
  std::vector<Family> families;
  int rounds;
  const PeerLibrary* peers;                     ///< null: none
  std::function<void(const std::string&)> say;  ///< gets the text, head first, each line when it is there
};

/// Measures every shape of the families on the GPU of this process. Throws KernelError if there is no GPU, or no CUDA
/// in the build, and std::runtime_error if a result is not the peer's or the GPU has no memory for a shape.
Table measure(const MeasureArgs& args);

}  // namespace troupe::deploy::kernel_bench
