// --device, as commands have it that compute.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "config/proto/cluster.pb.h"
#include "kernels/queue.h"

namespace troupe::deploy {

inline CLI::Option* add_device_option(CLI::App& command, std::string& device) {
  return command.add_option("--device", device, "where forward and backward are computed: cpu, cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
}

inline kernels::Device device_of(const std::string& name) {
  return name == "cuda" ? kernels::Device::cuda : kernels::Device::cpu;
}

inline kernels::Device device_of(const config::Cluster& cluster) {
  return cluster.device() == config::Cluster::CUDA ? kernels::Device::cuda : kernels::Device::cpu;
}

/// The option's value in the run; nothing if it was not given.
inline void set_device(const std::string& name, config::Cluster& cluster) {
  if (!name.empty()) {
    cluster.set_device(name == "cuda" ? config::Cluster::CUDA : config::Cluster::CPU);
  }
}

}  // namespace troupe::deploy
