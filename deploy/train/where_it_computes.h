// What a run says of the GPUs that it computes on.
#pragma once

#include <string>

#include "actors/company.h"

namespace troupe::deploy {

/// "computes on NVIDIA H200, 132 multiprocessors, 139.8 GiB; the state is in the GPU's memory". Empty on the CPU. When the
/// company's plane is set, if it has one.
std::string where_it_computes(const actors::Company& company);

}  // namespace troupe::deploy
