#include "deploy/train/collectives.h"

#include "runtime/cluster/cluster_error.h"

namespace troupe::deploy {

void take_collectives(actors::Company& company, const config::Run& run) {
  company.groups = {};
  if (run.cluster().collectives() != config::Cluster::NCCL || !company.has_others()) return;
  if (run.train().unit_hashes() || company.keeps_state_on_host()) return;
  if (const std::string why = runtime::why_no_nccl(); !why.empty()) {
    throw runtime::ClusterError("cluster.collectives is NCCL, and there is none: " + why);
  }
  company.groups = {runtime::make_nccl_group, runtime::new_nccl_id};
}

}  // namespace troupe::deploy
