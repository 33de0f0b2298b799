// What the plane over UCX does beyond carrying: credit, checksums, sleep, losses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <future>

#include "runtime/data_plane/parcel_format.h"
#include "tests/runtime/data_plane/planes.h"

namespace troupe::tests {
namespace {

using testing::ElementsAre;
using testing::MatchesRegex;
using testing::UnorderedElementsAreArray;

class UcxTest : public WireTest {
 protected:
  std::unique_ptr<DataPlane> plane(Inbox& inbox, const PlaneOptions& options = {}) {
    return GetParam().plane(inbox.events(), options);
  }
};

/// The processor time of all threads of this process, in seconds.
double cpu_seconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

// A terminal that closes ends what runs in it.
TEST(Ucx, LeavesSignalsToTheProgram) {
  for (const int signal : {SIGHUP, SIGTERM, SIGINT}) {
    struct sigaction action{};
    ASSERT_EQ(::sigaction(signal, nullptr, &action), 0);
    EXPECT_TRUE(action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) << signal;
  }
}

TEST_P(UcxTest, SaysItsVersionAndTransports) {
  Inbox inbox;
  const char* wanted = std::getenv("TROUPE_TEST_UCX");  // see ucx_version_test
  const std::string version = wanted ? wanted : "1\\.[0-9]+\\.[0-9]+";

  EXPECT_THAT(plane(inbox)->describe(),
              MatchesRegex("ucx " + version + " \\(" + GetParam().transports + "\\)"));
}

// Neither of these wires has CUDA, whatever UCX and the machine have.
TEST_P(UcxTest, AGpusMemoryIsNotSentWhereItIsNotKnown) {
  Pair pair(GetParam());
  TensorRef rows = filled_bytes(64, 1);
  rows.view.device = kernels::Device::cuda;

  EXPECT_FALSE(pair.a->carries_gpu_memory());
  EXPECT_THAT([&] { pair.a->send(11, {"x", {rows}}); },
              testing::ThrowsMessage<DataPlaneError>(testing::HasSubstr("peer 11 knows the host's memory alone")));
  pair.a->send(11, {"y", {}});
  EXPECT_EQ(pair.inbox_b.parcels(1).count("y"), 1u) << "the connection stands";
}

TEST_P(UcxTest, WhatHasNoCreditWaitsInOrder) {
  std::promise<void> gate;
  std::shared_future<void> is_open = gate.get_future().share();
  Pair pair(GetParam(), {.credit_parcels = 2}, [is_open](const Parcel&) { is_open.wait(); });
  std::vector<std::string> letters;
  for (int i = 0; i < 10; ++i) letters.push_back(std::to_string(i));

  for (const std::string& letter : letters) pair.a->send(11, {letter, {}});

  EXPECT_EQ(pair.a->counters().parcels_taken, 10u) << "by whoever sends, at once";
  EXPECT_GE(pair.a->counters().wire_bytes_taken, 10 * sizeof(runtime::ParcelHeader));
  EXPECT_TRUE(comes_true([&] { return pair.a->counters().parcels_held_back == 8; }));
  EXPECT_EQ(pair.a->counters().parcels_sent, 2u);
  gate.set_value();
  EXPECT_EQ(pair.inbox_b.parcels(10).size(), 10u);
  EXPECT_EQ(pair.inbox_b.order(), letters);
}

TEST_P(UcxTest, BytesHaveCreditTooAndWhatIsLargerThanAllOfItTravelsAlone) {
  std::promise<void> gate;
  std::shared_future<void> is_open = gate.get_future().share();
  Pair pair(GetParam(), {.credit_bytes = 1000}, [is_open](const Parcel&) { is_open.wait(); });

  for (const int64_t bytes : {400, 600, 1, 100000, 1}) {
    pair.a->send(11, {std::to_string(bytes), {filled_bytes(bytes, 1)}});
  }

  EXPECT_TRUE(comes_true([&] { return pair.a->counters().parcels_held_back == 3; }));
  EXPECT_EQ(pair.a->counters().parcels_sent, 2u);
  gate.set_value();
  EXPECT_EQ(pair.inbox_b.parcels(5).size(), 4u);  // two have the letter "1"
  EXPECT_EQ(pair.inbox_b.order().size(), 5u);
}

TEST_P(UcxTest, AByteThatChangesOnTheWayIsFoundByTheChecksum) {
  std::promise<void> gate;
  std::shared_future<void> is_open = gate.get_future().share();
  Pair pair(GetParam(), {.has_checksums = true, .credit_parcels = 1},
            [is_open](const Parcel&) { is_open.wait(); });
  const TensorRef tensor = filled_bytes(runtime::apart_bytes, 1);
  pair.a->send(11, {"holds the second back", {}});
  pair.a->send(11, {"second", {tensor}});
  ASSERT_TRUE(comes_true([&] { return pair.a->counters().parcels_held_back == 1; }));

  kernels::values<uint8_t>(tensor.view)[12345] ^= 1;
  gate.set_value();

  const auto losses = pair.inbox_b.losses(1);
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].why, "tensor 0, [32768] f8_e4m3: its checksum does not hold");
  EXPECT_THAT(pair.inbox_b.order(), ElementsAre("holds the second back"));
  const auto told = pair.inbox_a.losses(1);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].why, losses[0].why);
  EXPECT_THAT(told[0].undelivered, ElementsAre("second"));
}

TEST_P(UcxTest, ChecksumsOfWhatIsWholeHold) {
  Pair pair(GetParam(), {.has_checksums = true});

  for (int i = 0; i < 300; ++i) {
    pair.a->send(11, {std::to_string(i), {filled_bytes(i * 1000, 1), filled_bytes(i, 2)}});
  }

  EXPECT_EQ(pair.inbox_b.parcels(300).size(), 300u);
}

TEST_P(UcxTest, WhoeverIsDisconnectedIsTold) {
  Pair pair(GetParam());
  pair.b->send(10, {"both ways are open", {}});
  ASSERT_EQ(pair.inbox_a.parcels(1).size(), 1u);

  pair.a->disconnect(11);

  const auto losses = pair.inbox_b.losses(1);
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].peer, 10);
  EXPECT_EQ(losses[0].why, "disconnected");
  EXPECT_THROW(pair.b->send(10, {"x", {}}), DataPlaneError);
}

TEST_P(UcxTest, PeersOfAPlaneThatEndsAreTold) {
  Pair pair(GetParam());
  pair.b->send(10, {"both ways are open", {}});
  ASSERT_EQ(pair.inbox_a.parcels(1).size(), 1u);

  pair.a.reset();

  const auto losses = pair.inbox_b.losses(1);
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].why, "the peer has ended its plane");
}

TEST_P(UcxTest, AnAddressServesOneConnection) {
  Pair pair(GetParam());
  pair.a->disconnect(11);
  ASSERT_EQ(pair.inbox_a.losses(1).size(), 1u);

  EXPECT_THROW(pair.a->connect(11, pair.b->address()), DataPlaneError);
  EXPECT_THROW(pair.a->connect(12, pair.a->address()), DataPlaneError);
}

TEST_P(UcxTest, ADamagedAddressIsRefusedBeforeUcxReadsIt) {
  Inbox inbox;
  auto a = plane(inbox), b = plane(inbox);
  const std::string address = b->address();

  for (size_t i = 0; i < address.size(); ++i) {
    std::string damaged = address;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    EXPECT_THROW(a->connect(1, damaged), DataPlaneError) << i;
    EXPECT_THROW(a->connect(1, address.substr(0, i)), DataPlaneError) << i;
  }
}

TEST_P(UcxTest, EveryLetterIsReceivedOrLost) {
  Pair pair(GetParam(), {.credit_parcels = 8});
  std::vector<std::string> sent;
  for (int i = 0; i < 400; ++i) sent.push_back(std::to_string(i));

  for (const std::string& letter : sent) {
    pair.a->send(11, {letter, {filled_bytes(60000, 1)}});
    if (letter == "200") pair.inbox_b.parcels(50);
  }
  pair.a->disconnect(11);

  const auto losses = pair.inbox_a.losses(1);
  ASSERT_EQ(losses.size(), 1u);
  ASSERT_EQ(pair.inbox_b.losses(1).size(), 1u);
  // A parcel may be received whose confirmation did not come any more; none is in neither list.
  const auto received = pair.inbox_b.order();
  std::set<std::string> accounted(received.begin(), received.end());
  EXPECT_EQ(accounted.size(), received.size());
  accounted.insert(losses[0].undelivered.begin(), losses[0].undelivered.end());
  EXPECT_THAT(accounted, UnorderedElementsAreArray(sent));
}

TEST_P(UcxTest, AnExceptionOfTheReceiverEndsTheConnection) {
  Pair pair(GetParam(), {}, [](const Parcel&) { throw std::runtime_error("no room"); });

  pair.a->send(11, {"one", {}});

  const auto losses = pair.inbox_a.losses(1);
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].why, "no room");
  EXPECT_THAT(losses[0].undelivered, ElementsAre("one"));
}

TEST_P(UcxTest, TensorsOutliveThePlane) {
  const TensorRef large = filled_bytes(1 << 20, 1), small = filled_bytes(100, 2);
  std::map<std::string, Parcel> parcels;
  {
    Pair pair(GetParam());
    pair.a->send(11, {"both", {large, small}});
    parcels = pair.inbox_b.parcels(1);
  }

  ASSERT_EQ(parcels["both"].tensors.size(), 2u);
  EXPECT_TRUE(is_same(large, parcels["both"].tensors[0]));
  EXPECT_TRUE(is_same(small, parcels["both"].tensors[1]));
}

TEST_P(UcxTest, LargeTensorsPassThroughNoBufferOfThePlane) {
  Pair pair(GetParam());

  pair.a->send(11, {"", {filled_bytes(1 << 20, 1)}});

  ASSERT_EQ(pair.inbox_b.parcels(1).size(), 1u);
  EXPECT_EQ(pair.a->counters().copied_bytes, 0u);
  EXPECT_LT(pair.b->counters().copied_bytes, 200u);
  EXPECT_EQ(pair.b->counters().tensor_bytes_received, 1u << 20);
}

TEST_P(UcxTest, MemoryOfLargeTensorsIsUsedAgain) {
  Pair pair(GetParam());
  std::set<const void*> places;

  for (int i = 0; i < 20; ++i) {
    pair.a->send(11, {"", {filled_bytes(1 << 20, 1)}});
    places.insert(pair.inbox_b.parcels(1)[""].tensors.at(0).view.data);
    pair.inbox_b.forget();
  }

  EXPECT_EQ(places.size(), 1u);
}

TEST_P(UcxTest, ManyThreadsMaySendAtOnce) {
  Pair pair(GetParam());

  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pair, t] {
      for (int i = 0; i < 500; ++i) {
        pair.a->send(11, {std::to_string(t * 500 + i), {filled_bytes(i, 1)}});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(pair.inbox_b.parcels(2000).size(), 2000u);
}

TEST_P(UcxTest, AllPlanesOfAMeshReachAllOthers) {
  constexpr int n = 5;
  std::vector<Inbox> inboxes(n);
  std::vector<std::unique_ptr<DataPlane>> planes;
  for (Inbox& inbox : inboxes) planes.push_back(plane(inbox));
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      if (i != j) planes[i]->connect(j, planes[j]->address());
    }
  }

  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      if (i != j) planes[i]->send(j, {std::to_string(i), {filled_bytes(50000, 1)}});
    }
  }

  for (int j = 0; j < n; ++j) EXPECT_EQ(inboxes[j].parcels(n - 1).size(), size_t{n - 1}) << j;
}

TEST_P(UcxTest, AnIdlePlaneSleepsAndWakesForWork) {
  Pair pair(GetParam());
  pair.a->send(11, {"first", {}});
  ASSERT_EQ(pair.inbox_b.parcels(1).size(), 1u);
  const auto are_asleep = [&] {
    const auto sleeps = pair.a->counters().sleeps + pair.b->counters().sleeps;
    return pair.inbox_b.is_quiet_for(std::chrono::milliseconds(20)) &&
           sleeps == pair.a->counters().sleeps + pair.b->counters().sleeps;
  };
  ASSERT_TRUE(comes_true(are_asleep));

  const double before = cpu_seconds();
  ASSERT_TRUE(pair.inbox_b.is_quiet_for(std::chrono::milliseconds(500)));
  const double used = cpu_seconds() - before;

  EXPECT_LT(used, 0.005);
  pair.a->send(11, {"second", {}});
  EXPECT_EQ(pair.inbox_b.parcels(2).size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(UcxWires, UcxTest, testing::ValuesIn(ucx_wires()), wire_name);

TEST(UcxPlane, TransportsThatAreNotThereAreAnError) {
  if (!runtime::has_ucx()) GTEST_SKIP() << runtime::why_no_ucx();

  EXPECT_THROW(runtime::make_ucx_plane({.transports = "carrier_pigeon"}, {}), DataPlaneError);
  EXPECT_THROW(runtime::make_ucx_plane({.transports = "tcp", .network = "nowhere0"}, {}),
               DataPlaneError);
}

}  // namespace
}  // namespace troupe::tests
