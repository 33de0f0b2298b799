#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace troupe::actors {

/// Expert shards of a layer's router.
struct ExpertHolders {
  std::vector<int> owner;               ///< of each expert: its shard
  int shards = 1;
  std::vector<std::vector<int>> hosts;  ///< shards of each other process, ascending

  /// One holder of everything.
  static ExpertHolders one(int64_t experts) {
    return {std::vector<int>(static_cast<size_t>(experts), 0), 1, {}};
  }
};

}  // namespace troupe::actors
