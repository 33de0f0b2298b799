// What etcd does with a transaction, without etcd: keys, revisions and leases in memory.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "runtime/cluster/lease/etcd.h"

namespace troupe::tests {

class EtcdModel {
 public:
  runtime::EtcdAnswer run(const runtime::EtcdTransaction& transaction) {
    runtime::EtcdAnswer answer;
    answer.holds = true;
    for (const auto& condition : transaction.conditions) {
      const auto key = keys_.find(condition.key);
      const bool is_there = key != keys_.end();
      const bool is_created = condition.what == runtime::EtcdCondition::created;
      const int64_t found =
          !is_there ? 0 : is_created ? key->second.state.created : key->second.state.changed;
      answer.holds = answer.holds && found == condition.revision;
    }
    if (answer.holds && !(transaction.deletes.empty() && transaction.puts.empty())) ++revision_;
    if (answer.holds) {
      for (const auto& key : transaction.deletes) keys_.erase(key);
      for (const auto& one : transaction.puts) put(one);
    }
    for (const auto& range : answer.holds ? transaction.reads : transaction.otherwise) {
      answer.ranges.push_back(read(range));
    }
    answer.revision = revision_;
    return answer;
  }

  void end_lease(int64_t lease) {
    ++revision_;
    std::erase_if(keys_, [lease](const auto& key) { return key.second.lease == lease; });
  }

  /// Called for every write, with what stood there before; empty: nothing.
  std::function<void(const std::string& key, const std::string& before)> written;

 private:
  struct Key {
    runtime::EtcdKey state;
    int64_t lease;
  };

  void put(const runtime::EtcdPut& one) {
    const auto there = keys_.find(one.key);
    const int64_t created = there == keys_.end() ? revision_ : there->second.state.created;
    if (written) written(one.key, there == keys_.end() ? "" : there->second.state.value);
    keys_[one.key] = {{one.key, one.value, created, revision_}, one.lease};
  }

  std::vector<runtime::EtcdKey> read(const runtime::EtcdRange& range) const {
    std::vector<runtime::EtcdKey> found;
    for (auto it = keys_.lower_bound(range.key); it != keys_.end(); ++it) {
      if (range.end.empty() ? it->first != range.key : it->first >= range.end) break;
      if (range.limit > 0 && static_cast<int64_t>(found.size()) == range.limit) break;
      found.push_back(it->second.state);
    }
    return found;
  }

  std::map<std::string, Key> keys_;
  int64_t revision_ = 1;
};

}  // namespace troupe::tests
