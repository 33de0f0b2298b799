// Groups on a GPU. Several ranks of one GPU need NCCL 2.30 or newer: an older one is tested with one rank.
#include "runtime/data_plane/nccl_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <numeric>

#include "kernels/buffer.h"
#include "tests/runtime/data_plane/nccl_ranks.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using kernels::Buffer;
using kernels::Device;
using kernels::DType;
using testing::HasSubstr;

TEST(NcclCirclesTest, ThoseWithoutACommonMemberAreMadeAtOnce) {
  EXPECT_EQ(rounds_of_circles({}), (std::vector<std::vector<int>>{}));
  EXPECT_EQ(rounds_of_circles({{0, 1}, {0, 1, 2, 3}, {2, 3}}), (std::vector<std::vector<int>>{{0, 2}, {1}}));
  EXPECT_EQ(rounds_of_circles({{0, 1}, {1, 2}, {2, 3}, {0, 3}}), (std::vector<std::vector<int>>{{0, 2}, {1, 3}}));
}

class NcclGroupTest : public testing::Test {
 protected:
  using Ms = std::chrono::milliseconds;
  using Groups = std::vector<std::unique_ptr<DeviceGroup>>;

  void SetUp() override {
    if (const std::string why = kernels::cuda::why_no_gpu(); !why.empty()) GTEST_SKIP() << "no GPU: " << why;
    if (const std::string why = why_no_nccl(); !why.empty()) GTEST_SKIP() << "no NCCL: " << why;
    kernels::cuda::open();
    why_not_several();  // before anything else of NCCL, which reads its environment once
  }

  static const std::string& why_not_several() {
    static const std::string why = why_not_several_ranks();
    return why;
  }

  static Groups make(int ranks, std::vector<std::vector<int>> circles, Ms deadline = Ms(20000)) {
    Groups groups;
    const std::string id = new_nccl_id();
    for (int rank = 0; rank < ranks; ++rank) {
      groups.push_back(make_nccl_group(
          {.id = id, .rank = rank, .ranks = ranks, .circles = circles, .deadline = deadline}));
    }
    return groups;
  }

  /// [count] i64: i times `times`.
  static Buffer numbers(int64_t count, int64_t times) {
    std::vector<int64_t> host(static_cast<size_t>(count));
    std::iota(host.begin(), host.end(), 0);
    for (int64_t& one : host) one *= times;
    const Buffer out = kernels::allocate(Device::cuda, DType::i64, {count});
    kernels::copy_now(kernels::tensor(host.data(), {count}), out);
    return out;
  }
  static std::vector<int64_t> on_host(const Buffer& buffer) {
    std::vector<int64_t> host(static_cast<size_t>(buffer.view.count()));
    kernels::copy_now(buffer, kernels::tensor(host.data(), {buffer.view.count()}));
    return host;
  }

  /// What an operation is answered with.
  struct Answer {
    std::promise<std::string> promise;
    std::future<std::string> future = promise.get_future();
    DeviceGroup::Done done() {
      return [this](const std::string& error) { promise.set_value(error); };
    }
    std::string get() {
      if (future.wait_for(std::chrono::seconds(60)) != std::future_status::ready) return "no answer";
      return future.get();
    }
  };
};

TEST_F(NcclGroupTest, OneRankSumsHandsOutAndExchangesWithItself) {
  const Groups groups = make(1, {{0}});
  EXPECT_THAT(groups[0]->describe(), HasSubstr("1 rank"));
  const Buffer a = numbers(1000, 3), b = numbers(1000, 5);
  Answer summed, handed, exchanged;
  groups[0]->sum(0, {{a, 0}}, Ms(20000), summed.done());
  groups[0]->hand_out(0, {{a, 0}}, Ms(20000), handed.done());
  groups[0]->exchange({{a, 0}}, {{b, 0}}, Ms(20000), exchanged.done());
  EXPECT_EQ(summed.get(), "");
  EXPECT_EQ(handed.get(), "");
  EXPECT_EQ(exchanged.get(), "");
  EXPECT_EQ(on_host(a)[999], 3 * 999);
  EXPECT_EQ(on_host(b), on_host(a));
}

TEST_F(NcclGroupTest, SeveralRanksSumIntoOwnersInEveryCircle) {
  if (!why_not_several().empty()) GTEST_SKIP() << "several ranks on a GPU: " << why_not_several();
  const std::vector<std::vector<int>> circles = {{0, 1}, {0, 1, 2}, {1, 2}};
  const Groups groups = make(3, circles);
  for (const int64_t count : {int64_t{1}, int64_t{1000}, int64_t{3'000'001}}) {
    for (size_t c = 0; c < circles.size(); ++c) {
      const std::vector<int>& members = circles[c];
      std::vector<std::vector<Buffer>> held(members.size());  // by member, a part for each root
      std::vector<Answer> summed(members.size()), handed(members.size());
      int64_t sum = 0;
      for (size_t m = 0; m < members.size(); ++m) {
        std::vector<GroupPart> parts;
        sum += members[m] + 2;
        for (const int root : members) {
          held[m].push_back(numbers(count, members[m] + 2));
          parts.push_back({held[m].back(), root});
        }
        const auto& group = groups[static_cast<size_t>(members[m])];
        group->sum(static_cast<int>(c), parts, Ms(20000), summed[m].done());
        group->hand_out(static_cast<int>(c), parts, Ms(20000), handed[m].done());
      }
      for (size_t m = 0; m < members.size(); ++m) {
        EXPECT_EQ(summed[m].get(), "");
        EXPECT_EQ(handed[m].get(), "");
      }
      const std::vector<int64_t> wanted = on_host(numbers(count, sum));
      for (const auto& parts : held) {
        for (const Buffer& part : parts) EXPECT_EQ(on_host(part), wanted) << count << " in circle " << c;
      }
    }
  }
}

TEST_F(NcclGroupTest, SlicesComeToWhomTheyAreFor) {
  if (!why_not_several().empty()) GTEST_SKIP() << "several ranks on a GPU: " << why_not_several();
  const Groups groups = make(3, {});
  std::vector<Buffer> sent, got;
  std::vector<Answer> answers(3);
  for (int rank = 0; rank < 3; ++rank) {
    sent.push_back(numbers(100'000, rank + 1));
    got.push_back(numbers(100'000, 0));
  }
  for (int rank = 0; rank < 3; ++rank) {
    const auto r = static_cast<size_t>(rank);
    groups[r]->exchange({{sent[r], (rank + 1) % 3}}, {{got[r], (rank + 2) % 3}}, Ms(20000), answers[r].done());
  }
  for (size_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(answers[rank].get(), "");
    EXPECT_EQ(on_host(got[rank]), on_host(sent[(rank + 2) % 3])) << rank;
  }
}

// Supervision law: nobody is waited for without a deadline.
TEST_F(NcclGroupTest, AMemberThatNeverComesEndsTheGroupAtTheDeadline) {
  const auto group = make_nccl_group(
      {.id = new_nccl_id(), .rank = 0, .ranks = 2, .circles = {{0, 1}}, .deadline = Ms(300)});
  const Buffer a = numbers(10, 1);
  Answer first, second;
  group->sum(0, {{a, 0}}, Ms(20000), first.done());
  group->sum(0, {{a, 0}}, Ms(20000), second.done());
  EXPECT_THAT(first.get(), HasSubstr("members of a group of 2"));
  EXPECT_THAT(second.get(), HasSubstr("not here by the deadline"));
}

TEST_F(NcclGroupTest, WhoIsLostWhileOthersSumEndsTheGroupAndANewOneIsMade) {
  if (!why_not_several().empty()) GTEST_SKIP() << "several ranks on a GPU: " << why_not_several();
  for (int round = 0; round < 3; ++round) {
    Groups groups = make(2, {{0, 1}});
    const Buffer a = numbers(5'000'000, 1), b = numbers(5'000'000, 2);
    Answer whole, other, lost;
    groups[0]->sum(0, {{a, 0}}, Ms(20000), whole.done());
    groups[1]->sum(0, {{b, 0}}, Ms(20000), other.done());
    EXPECT_EQ(whole.get(), "");
    EXPECT_EQ(other.get(), "");

    groups[0]->sum(0, {{a, 0}}, Ms(500), lost.done());
    groups[1].reset();
    EXPECT_THAT(lost.get(), HasSubstr("sums of a group of 2"));
    groups[0].reset();
    EXPECT_EQ(on_host(b)[7], 14);
  }
}

TEST_F(NcclGroupTest, OneThatIsGivenUpTellsNobody) {
  const Buffer a = numbers(10, 1);
  bool is_told = false;
  {
    const auto group = make_nccl_group({.id = new_nccl_id(), .rank = 0, .ranks = 2, .circles = {{0, 1}}});
    group->sum(0, {{a, 0}}, Ms(600'000), [&](const std::string&) { is_told = true; });
  }
  EXPECT_FALSE(is_told);
}

TEST_F(NcclGroupTest, SumsOfFloatsAreRefused) {
  const Groups groups = make(1, {{0}});
  const Buffer floats = kernels::allocate(Device::cuda, DType::f32, {4});
  EXPECT_THROW(groups[0]->sum(0, {{floats, 0}}, Ms(1000), {}), DataPlaneError);
}

TEST_F(NcclGroupTest, AnIdThatIsNoneIsRefused) {
  EXPECT_THROW(make_nccl_group({.id = "here", .rank = 0, .ranks = 1, .circles = {}}), DataPlaneError);
}

}  // namespace
}  // namespace troupe::tests
