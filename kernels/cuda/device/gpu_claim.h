// Which of a machine's GPUs a process takes, so that processes started by whatever means spread over
// them. Knows no CUDA.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace troupe::kernels::cuda {

/// An index. Each GPU has a first place, a second and so on; a process takes the first free place of the lowest
/// number and holds it until it ends, however it ends: so as many as there are GPUs get one each, and who comes in
/// a lost one's stead gets its GPU. A name of `names` is one GPU in every process; not empty. Processes see each other
/// inside one network namespace: elsewhere each begins at the first.
size_t claim_gpu(std::span<const std::string> names);

}  // namespace troupe::kernels::cuda
