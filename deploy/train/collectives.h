#pragma once

#include "actors/company.h"
#include "config/proto/run.pb.h"

namespace troupe::deploy {

/// Gives a company what its optimizer shards sum and hand out together with, if the run wants that (cluster.collectives)
/// and the state is on the GPU. Once the plane is set, before any actor. Throws ClusterError where there is no NCCL.
void take_collectives(actors::Company& company, const config::Run& run);

}  // namespace troupe::deploy
