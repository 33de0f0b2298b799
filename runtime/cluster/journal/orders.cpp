#include "runtime/cluster/journal/orders.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <stdexcept>

namespace troupe::runtime {
namespace {

namespace fs = std::filesystem;

constexpr const char* prefix = "drain-";

bool is_name(const std::string& node) {
  return !node.empty() && node.size() <= 64 && std::all_of(node.begin(), node.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

DrainOrder order_drain(const fs::path& folder, const std::string& node) {
  if (!fs::exists(folder / "run.textproto")) {
    throw std::runtime_error(folder.string() + " holds no run: found no run.textproto in it");
  }
  if (!is_name(node)) {
    throw std::runtime_error("found the node '" + node + "', wanted a process's number or a host's name");
  }
  fs::create_directories(folder / "orders");
  DrainOrder order{node, folder / "orders" / (prefix + node)};
  std::ofstream file(order.file);
  file << std::flush;
  if (!file) throw std::runtime_error(order.file.string() + " cannot be written");
  return order;
}

std::vector<DrainOrder> open_orders(const fs::path& folder) {
  std::vector<DrainOrder> orders;
  std::error_code none;
  for (fs::directory_iterator at(folder / "orders", none); !none && at != fs::directory_iterator();
       at.increment(none)) {
    const std::string name = at->path().filename().string();
    const std::string node = name.starts_with(prefix) ? name.substr(std::string(prefix).size()) : "";
    if (is_name(node)) orders.push_back({node, at->path()});
  }
  std::sort(orders.begin(), orders.end(),
            [](const DrainOrder& a, const DrainOrder& b) { return a.node < b.node; });
  return orders;
}

void close_order(const DrainOrder& order) {
  std::error_code gone;
  fs::remove(order.file, gone);
}

}  // namespace troupe::runtime
