#include "runtime/cluster/lease/etcd.h"

#include <openssl/evp.h>

#include <nlohmann/json.hpp>

#include "runtime/cluster/lease/http.h"

namespace troupe::runtime {
namespace {

using nlohmann::json;

constexpr int not_found = 404;

std::string base64(const std::string& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int n = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                  reinterpret_cast<const unsigned char*>(bytes.data()),
                                  static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(n));
  return text;
}

std::string bytes_of(const std::string& text) {
  std::string bytes(3 * (text.size() / 4) + 3, '\0');
  const int n = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                  reinterpret_cast<const unsigned char*>(text.data()),
                                  static_cast<int>(text.size()));
  if (n < 0) throw ClusterError("found '" + text.substr(0, 40) + "' of etcd, wanted base64");
  size_t size = static_cast<size_t>(n);
  for (size_t i = text.size(); i > 0 && text[i - 1] == '='; --i) --size;
  bytes.resize(size);
  return bytes;
}

int64_t number(const json& object, const char* field) {
  const auto found = object.find(field);
  return found == object.end() ? 0 : std::stoll(found->get<std::string>());
}

json range_of(const EtcdRange& range) {
  json out{{"key", base64(range.key)}};
  if (!range.end.empty()) out["range_end"] = base64(range.end);
  if (range.limit > 0) out["limit"] = std::to_string(range.limit);
  return {{"request_range", out}};
}

json condition_of(const EtcdCondition& condition) {
  const bool is_created = condition.what == EtcdCondition::created;
  return {{"target", is_created ? "CREATE" : "MOD"},
          {"key", base64(condition.key)},
          {is_created ? "create_revision" : "mod_revision", std::to_string(condition.revision)}};
}

std::vector<EtcdKey> keys_of(const json& range) {
  std::vector<EtcdKey> keys;
  const auto all = range.find("kvs");
  if (all == range.end()) return keys;
  for (const json& one : *all) {
    keys.push_back({bytes_of(one.value("key", "")), bytes_of(one.value("value", "")),
                    number(one, "create_revision"), number(one, "mod_revision")});
  }
  return keys;
}

/// Of what etcd has answered; throws ClusterError for what is none.
template <class F>
auto read(const std::string& text, F f) {
  try {
    return f(json::parse(text));
  } catch (const json::exception& error) {
    throw ClusterError("found '" + text.substr(0, 80) + "' of etcd: " + error.what());
  } catch (const std::logic_error& error) {  // of std::stoll
    throw ClusterError("found '" + text.substr(0, 80) + "' of etcd, wanted numbers in it");
  }
}

}  // namespace

EtcdRange all_below(const std::string& prefix) {
  std::string end = prefix;
  ++end.back();
  return {prefix, end};
}

std::string json_of(const EtcdTransaction& transaction) {
  json compare = json::array(), success = json::array(), failure = json::array();
  for (const auto& one : transaction.conditions) compare.push_back(condition_of(one));
  for (const auto& key : transaction.deletes) {
    success.push_back({{"request_delete_range", {{"key", base64(key)}}}});
  }
  for (const auto& one : transaction.puts) {
    json put{{"key", base64(one.key)}, {"value", base64(one.value)}};
    if (one.lease != 0) put["lease"] = std::to_string(one.lease);
    success.push_back({{"request_put", put}});
  }
  for (const auto& one : transaction.reads) success.push_back(range_of(one));
  for (const auto& one : transaction.otherwise) failure.push_back(range_of(one));
  return json{{"compare", compare}, {"success", success}, {"failure", failure}}.dump();
}

EtcdAnswer answer_of(const std::string& text) {
  return read(text, [](const json& all) {
    EtcdAnswer answer;
    answer.holds = all.value("succeeded", false);
    answer.revision = number(all.at("header"), "revision");
    const auto responses = all.find("responses");
    if (responses == all.end()) return answer;
    for (const json& one : *responses) {
      const auto range = one.find("response_range");
      if (range != one.end()) answer.ranges.push_back(keys_of(*range));
    }
    return answer;
  });
}

EtcdClient::EtcdClient(std::vector<Endpoint> servers, std::chrono::milliseconds patience)
    : servers_(std::move(servers)), patience_(patience) {}

std::string EtcdClient::ask(const std::string& path, const std::string& body) {
  std::string errors;
  for (size_t i = 0; i < servers_.size(); ++i) {
    const size_t at = (first_ + i) % servers_.size();
    try {
      const HttpReply reply = http_post(servers_[at], path, body, within(patience_));
      if (reply.status == 200 || reply.status == not_found) {
        first_ = at;
        return reply.body;
      }
      errors += (errors.empty() ? "" : "; ") + to_string(servers_[at]) + " answers " +
                std::to_string(reply.status) + ": " + reply.body.substr(0, 200);
    } catch (const ClusterError& error) {
      errors += (errors.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  throw ClusterError("etcd: " + errors);
}

EtcdAnswer EtcdClient::run(const EtcdTransaction& transaction) {
  return answer_of(ask("/v3/kv/txn", json_of(transaction)));
}

int64_t EtcdClient::grant(int seconds) {
  const std::string answer = ask("/v3/lease/grant", json{{"TTL", std::to_string(seconds)}}.dump());
  const int64_t lease = read(answer, [](const json& all) { return number(all, "ID"); });
  if (lease == 0) throw ClusterError("etcd has granted no lease: " + answer.substr(0, 200));
  return lease;
}

bool EtcdClient::keep_alive(int64_t lease) {
  const std::string answer =
      ask("/v3/lease/keepalive", json{{"ID", std::to_string(lease)}}.dump());
  return read(answer, [](const json& all) {
    const auto result = all.find("result");
    return result != all.end() && number(*result, "TTL") > 0;
  });
}

void EtcdClient::revoke(int64_t lease) {
  ask("/v3/lease/revoke", json{{"ID", std::to_string(lease)}}.dump());
}

}  // namespace troupe::runtime
