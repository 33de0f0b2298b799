#pragma once

#include <cstdlib>
#include <future>
#include <string>

#include "runtime/data_plane/device_group.h"

namespace troupe::tests {

/// Why there can't be several ranks on this process's GPU, as NCCL allows since 2.30; empty: there can be, in this
/// process and those that it starts.
inline std::string why_not_several_ranks() {
  using namespace runtime;
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 0);
  if (const std::string why = why_no_nccl(); !why.empty()) return why;
  try {
    const std::chrono::seconds deadline(20);
    const std::string id = new_nccl_id();
    const auto first = make_nccl_group({.id = id, .rank = 0, .ranks = 2, .circles = {{0, 1}}, .deadline = deadline});
    const auto second = make_nccl_group({.id = id, .rank = 1, .ranks = 2, .circles = {{0, 1}}, .deadline = deadline});
    std::promise<std::string> answer;
    first->exchange({}, {}, deadline, [&](const std::string& error) { answer.set_value(error); });
    return answer.get_future().get();
  } catch (const DataPlaneError& e) {
    return e.what();
  }
}

}  // namespace troupe::tests
