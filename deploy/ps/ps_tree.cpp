#include "deploy/ps/ps_tree.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace troupe::deploy {
namespace {

/// The lives of a name, newest first, and the names below it.
struct Node {
  std::vector<size_t> lives;
  std::vector<std::string> children;
  bool is_shown = false;
};

class Tree {
 public:
  Tree(const std::vector<runtime::CellView>& cells, bool is_all) : cells_(cells), is_all_(is_all) {
    for (size_t i = 0; i < cells.size(); ++i) {
      Node& node = nodes_[cells[i].name];
      if (node.lives.empty()) names_.push_back(cells[i].name);
      node.lives.push_back(i);
    }
    for (auto& [name, node] : nodes_) sort(node.lives);
    for (const std::string& name : names_) {
      const std::string& parent = parent_of(name);
      if (is_top(name)) continue;
      nodes_.at(parent).children.push_back(name);
    }
  }

  std::vector<PsRow> rows() {
    for (const std::string& name : names_) {
      if (is_top(name)) show(name, 0);
    }
    for (const std::string& name : names_) show(name, 0);  // rings
    return std::move(rows_);
  }

 private:
  void sort(std::vector<size_t>& lives) const {
    std::stable_sort(lives.begin(), lives.end(), [&](size_t a, size_t b) {
      const auto key = [&](size_t i) {
        return std::pair(!cells_[i].is_dead, cells_[i].incarnation);
      };
      return key(a) > key(b);
    });
  }
  const std::string& parent_of(const std::string& name) const {
    return cells_[nodes_.at(name).lives.front()].parent;
  }
  bool is_top(const std::string& name) const {
    return parent_of(name) == name || !nodes_.contains(parent_of(name));
  }

  /// With a stack of its own: a damaged file may hold a chain of all cells.
  void show(const std::string& top, int top_depth) {
    std::vector<std::pair<std::string, int>> open{{top, top_depth}};
    while (!open.empty()) {
      const auto [name, depth] = open.back();
      open.pop_back();
      Node& node = nodes_.at(name);
      if (std::exchange(node.is_shown, true)) continue;
      bool has_dead = false;
      for (const size_t life : node.lives) {
        if (cells_[life].is_dead && std::exchange(has_dead, true) && !is_all_) break;
        rows_.push_back({life, depth});
      }
      for (auto it = node.children.rbegin(); it != node.children.rend(); ++it) {
        open.emplace_back(*it, depth + 1);
      }
    }
  }

  const std::vector<runtime::CellView>& cells_;
  const bool is_all_;
  std::map<std::string, Node> nodes_;
  std::vector<std::string> names_;  // in the order of their first cells
  std::vector<PsRow> rows_;
};

}  // namespace

std::vector<PsRow> ps_rows(const std::vector<runtime::CellView>& cells, bool is_all) {
  return Tree(cells, is_all).rows();
}

}  // namespace troupe::deploy
