#include "runtime/cluster/lease/etcd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/etcd_server.h"
#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using nlohmann::json;
using testing::HasSubstr;

TEST(EtcdJson, WritesATransactionAsTheGatewayWantsIt) {
  const std::string text = json_of({.conditions = {{EtcdCondition::created, "a", 0},
                                                   {EtcdCondition::changed, "b", 7}},
                                    .deletes = {"c"},
                                    .puts = {{"a", std::string("\0\xff", 2), 5}},
                                    .reads = {{"d", "e", 3}},
                                    .otherwise = {{"f"}}});

  EXPECT_EQ(json::parse(text), json::parse(R"({
    "compare": [{"target": "CREATE", "key": "YQ==", "create_revision": "0"},
                {"target": "MOD", "key": "Yg==", "mod_revision": "7"}],
    "success": [{"request_delete_range": {"key": "Yw=="}},
                {"request_put": {"key": "YQ==", "value": "AP8=", "lease": "5"}},
                {"request_range": {"key": "ZA==", "range_end": "ZQ==", "limit": "3"}}],
    "failure": [{"request_range": {"key": "Zg=="}}]})"));
}

// As etcd 3.4.23 has answered.
TEST(EtcdJson, ReadsAnAnswerInWhichWhatIsZeroIsLeftOut) {
  const EtcdAnswer answer = answer_of(
      R"({"header":{"cluster_id":"324952591200643719","revision":"2","raft_term":"2"},"responses":[
      {"response_range":{"header":{"revision":"2"},"kvs":[{"key":"YQ==","create_revision":"2",
      "mod_revision":"3","version":"1","value":"Yg==","lease":"2324035683338900487"}],"count":"1"}},
      {"response_range":{"header":{"revision":"2"}}}]})");

  EXPECT_FALSE(answer.holds);
  EXPECT_EQ(answer.revision, 2);
  ASSERT_EQ(answer.ranges.size(), 2u);
  ASSERT_EQ(answer.ranges[0].size(), 1u);
  EXPECT_EQ(answer.ranges[0][0].key, "a");
  EXPECT_EQ(answer.ranges[0][0].value, "b");
  EXPECT_EQ(answer.ranges[0][0].created, 2);
  EXPECT_EQ(answer.ranges[0][0].changed, 3);
  EXPECT_TRUE(answer.ranges[1].empty());
}

TEST(EtcdJson, SaysWhatIsNoAnswer) {
  for (const char* text : {"", "{}", "[]", R"({"header":{"revision":"many"}})",
                           R"({"header":{"revision":"1"},"responses":[{"response_range":{"kvs":[{"key":"*"}]}}]})"}) {
    EXPECT_THROW(answer_of(text), ClusterError) << text;
  }
}

class EtcdTest : public testing::Test {
 protected:
  void SetUp() override {
    if (etcd_program().empty()) GTEST_SKIP() << why_no_etcd;
    server_ = std::make_unique<EtcdServer>(folder_);
  }
  ~EtcdTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  const std::filesystem::path folder_ = own_folder();
  std::unique_ptr<EtcdServer> server_;
};

TEST_F(EtcdTest, WritesAllOfATransactionOrNothing) {
  EtcdClient client = server_->place("").client();
  const std::string bytes("\0\1\xfe\xff", 4);

  const EtcdAnswer first = client.run({.conditions = {{EtcdCondition::created, "a", 0}},
                                       .deletes = {},
                                       .puts = {{"a", bytes}, {"b", ""}},
                                       .reads = {},
                                       .otherwise = {}});
  const EtcdAnswer second = client.run({.conditions = {{EtcdCondition::created, "a", 0}},
                                        .deletes = {},
                                        .puts = {{"a", "2"}, {"c", "3"}},
                                        .reads = {},
                                        .otherwise = {{"a"}, all_below("b"), all_below("c")}});

  EXPECT_TRUE(first.holds);
  EXPECT_FALSE(second.holds);
  ASSERT_EQ(second.ranges.size(), 3u);
  ASSERT_EQ(second.ranges[0].size(), 1u);
  EXPECT_EQ(second.ranges[0][0].value, bytes);
  EXPECT_EQ(second.ranges[0][0].changed, first.revision);
  ASSERT_EQ(second.ranges[1].size(), 1u);
  EXPECT_EQ(second.ranges[1][0].value, "");
  EXPECT_TRUE(second.ranges[2].empty());
}

TEST_F(EtcdTest, EndsTheKeysOfALeaseWithIt) {
  EtcdClient client = server_->place("").client();
  const int64_t lease = client.grant(2);
  client.run({.conditions = {}, .deletes = {}, .puts = {{"a", "1", lease}}, .reads = {}, .otherwise = {}});

  EXPECT_TRUE(client.keep_alive(lease));
  client.revoke(lease);

  EXPECT_FALSE(client.keep_alive(lease));
  EXPECT_TRUE(client.run({.conditions = {}, .deletes = {}, .puts = {}, .reads = {{"a"}}, .otherwise = {}})
                  .ranges.at(0)
                  .empty());
  EXPECT_NO_THROW(client.revoke(lease)) << "it has ended already";
}

TEST_F(EtcdTest, AsksAnotherServerWhenOneIsNotThere) {
  const Endpoint gone{"127.0.0.1", static_cast<uint16_t>(free_port())};
  const Endpoint there = server_->place("").servers.at(0);

  EtcdClient client({gone, there}, std::chrono::seconds(20));
  EXPECT_NO_THROW(client.run({}));
  EtcdClient nowhere({gone}, std::chrono::milliseconds(200));
  try {
    nowhere.run({});
    ADD_FAILURE() << "somebody has answered";
  } catch (const ClusterError& error) {
    EXPECT_THAT(error.what(), HasSubstr("cannot reach " + to_string(gone)));
  }
}

}  // namespace
}  // namespace troupe::tests
