// What a user wants of a run that is under way: a file an order in the run's folder, so that who may write
// there may order, and an order outlives whoever leads the run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace troupe::runtime {

/// A node is to leave the run.
struct DrainOrder {
  std::string node;            ///< a process's number, or a host's name for all of its nodes
  std::filesystem::path file;
};

/// Leaves an order in `folder`. Throws std::runtime_error: the folder holds no run, or the file cannot
/// be made.
DrainOrder order_drain(const std::filesystem::path& folder, const std::string& node);

/// Orders that nobody has carried out, by name.
std::vector<DrainOrder> open_orders(const std::filesystem::path& folder);

/// It has been carried out, or cannot be.
void close_order(const DrainOrder& order);

}  // namespace troupe::runtime
