#include "deploy/train/where_it_computes.h"

#include "kernels/cuda/device/device.h"

namespace troupe::deploy {

std::string where_it_computes(const actors::Company& company) {
  if (company.device != kernels::Device::cuda) return {};
  std::string text = "computes on " + kernels::cuda::describe_gpu();
  if (company.has_others()) text += ", and likewise in each of " + std::to_string(company.plan.processes) + " processes";
  if (!company.keeps_state_on_host()) {
    text += "; the state is in the GPU's memory";
    return company.has_groups() ? text + ", summed and handed out by NCCL" : text;
  }
  text += "; the state is in the host's memory";
  if (company.verifies_state) return text + ", where it is verified (train.verify_state)";
  return text + ": this UCX does not know the GPU's";
}

}  // namespace troupe::deploy
