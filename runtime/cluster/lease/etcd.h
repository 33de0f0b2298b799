// What is asked of etcd, and its answers, in the JSON of its gateway (etcd 3.4, "gRPC gateway": /v3/kv/txn,
// /v3/lease/...): bytes stand there in base64, numbers of 64 bits as text, and what is 0, false or empty is left
// out.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/cluster/join/endpoint.h"

namespace troupe::runtime {

/// A key as it stands in etcd. Revisions count the changes of all of etcd; 0: there is no such key.
struct EtcdKey {
  std::string key, value;
  int64_t created = 0, changed = 0;  ///< revisions
};

/// That a key was created, or changed last, in this revision.
struct EtcdCondition {
  enum What { created, changed } what;
  std::string key;
  int64_t revision;
};
struct EtcdPut {
  std::string key, value;
  int64_t lease = 0;  ///< with which the key ends; 0: it stays
};
/// One key, or all from `key` to `end`, which is not among them; the first `limit` (0: all).
struct EtcdRange {
  std::string key, end = {};
  int64_t limit = 0;
};
/// All at once, or not at all: if every condition holds, deletes, writes, then reads; else only what stands in
/// `otherwise`.
struct EtcdTransaction {
  std::vector<EtcdCondition> conditions;
  std::vector<std::string> deletes;
  std::vector<EtcdPut> puts;
  std::vector<EtcdRange> reads, otherwise;
};
struct EtcdAnswer {
  bool holds = false;    ///< the conditions did
  int64_t revision = 0;  ///< of what was written
  std::vector<std::vector<EtcdKey>> ranges;  ///< by read
};

/// The range of all keys that begin so.
EtcdRange all_below(const std::string& prefix);

std::string json_of(const EtcdTransaction& transaction);
/// Throws ClusterError.
EtcdAnswer answer_of(const std::string& json);

/// Blocks, and has no thread. Every call throws ClusterError when no server has answered within `patience`
/// each: what was asked may have been done.
class EtcdClient {
 public:
  EtcdClient(std::vector<Endpoint> servers, std::chrono::milliseconds patience);

  EtcdAnswer run(const EtcdTransaction& transaction);
  /// Of a new lease that ends when it is not kept alive for so long.
  int64_t grant(int seconds);
  /// False: the lease has ended.
  bool keep_alive(int64_t lease);
  /// Ends a lease, and the keys that end with it.
  void revoke(int64_t lease);

 private:
  std::string ask(const std::string& path, const std::string& body);

  const std::vector<Endpoint> servers_;
  const std::chrono::milliseconds patience_;
  size_t first_ = 0;  // that has answered last
};

}  // namespace troupe::runtime
