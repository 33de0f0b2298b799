#include "kernels/cuda/device/device.h"

#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <future>
#include <new>

#include "kernels/ops/embedding.h"
#include "kernels/ops/permute.h"
#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

class DeviceTest : public GpuTest {
 protected:
  ThreadPool pool_{3};
};

TEST(Device, ABuildOrMachineWithoutAGpuSaysWhyAndGivesNoQueue) {
  const std::string reason = cuda::why_no_gpu();
  if (reason.empty()) GTEST_SKIP() << "there is a GPU: " << cuda::describe_gpu();
  ThreadPool pool(1);

  EXPECT_THAT(kernel_error([&] { Queue queue(pool, Device::cuda); }), HasSubstr(reason));
  EXPECT_THAT(kernel_error([&] { allocate(Device::cuda, DType::f32, {4}); }), HasSubstr(reason));
  EXPECT_FALSE(cuda::is_open());
  EXPECT_EQ(allocate_shared(DType::i32, {4}).view.device, Device::cpu);
}

TEST_F(DeviceTest, CallbacksSeeWhatWasLaunchedBeforeThem) {
  Queue queue(pool_, Device::cuda);
  constexpr int64_t n = 1 << 22;
  const Buffer sum = allocate(Device::cuda, DType::f32, {1, n});
  const Buffer one = allocate(Device::cuda, DType::f32, {1, n});
  std::vector<float> ones(n, 1.0f);
  copy_now(floats(ones, {1, n}), one);
  set_zero(queue, {.y = sum});
  std::vector<float> seen;

  for (int round = 1; round <= 5; ++round) {
    for (int i = 0; i < 20; ++i) add(queue, {.a = sum, .b = one, .y = sum});
    queue.then([&](std::exception_ptr error) {
      EXPECT_EQ(error, nullptr);
      const Buffer host = on_host(sum);
      seen.push_back(values<float>(host.view)[n - 1]);
    });
  }
  queue.wait();

  EXPECT_THAT(seen, testing::ElementsAre(20.0f, 40.0f, 60.0f, 80.0f, 100.0f));
}

// One lane makes what the next reads, without the host between them.
TEST_F(DeviceTest, AQueueBeginsBehindTheMarkOfAnother) {
  Queue first(pool_, Device::cuda), second(pool_, Device::cuda);
  constexpr int64_t n = 1 << 24;
  std::vector<float> ones(n, 1.0f);
  const Buffer one = allocate(Device::cuda, DType::f32, {1, n});
  const Buffer x = allocate(Device::cuda, DType::f32, {1, n}), y = allocate(Device::cuda, DType::f32, {1, n});
  copy_now(floats(ones, {1, n}), one);
  std::promise<MarkPtr> handed, back;

  for (int round = 1; round <= 3; ++round) {
    set_zero(first, {.y = x});
    for (int i = 0; i < 100; ++i) add(first, {.a = x, .b = one, .y = x});
    handed = {};
    first.hand_on([&](MarkPtr mark) { handed.set_value(std::move(mark)); });
    second.wait_for(handed.get_future().get());
    add(second, {.a = x, .b = one, .y = y});
    back = {};
    second.hand_on([&](MarkPtr mark) { back.set_value(std::move(mark)); });
    first.wait_for(back.get_future().get());  // the next round writes what it has read
  }
  second.wait();
  first.wait();

  const Buffer host = on_host(y);
  for (const int64_t i : {int64_t{0}, n / 2, n - 1}) EXPECT_EQ(values<float>(host.view)[i], 101.0f) << i;
}

TEST_F(DeviceTest, WhatIsHandedOnIsSkippedBehindAnErrorWhichIsTold) {
  Queue queue(pool_, Device::cuda);
  bool handed = false;
  std::promise<std::string> told;
  queue.on_error([&](std::exception_ptr error) {
    told.set_value(kernel_error([&] { std::rethrow_exception(error); }));
  });

  queue.launch([](const GpuLane&) { throw KernelError("thrown on purpose"); });
  queue.hand_on([&](const MarkPtr&) { handed = true; });

  EXPECT_EQ(told.get_future().get(), "thrown on purpose");
  EXPECT_EQ(kernel_error([&] { queue.wait(); }), "thrown on purpose");
  EXPECT_FALSE(handed);
}

TEST_F(DeviceTest, PartsOfTheHostStandInTheSameOrder) {
  Queue queue(pool_, Device::cuda);
  const Buffer shared = allocate_shared(DType::f32, {1, 1024});
  const Buffer twice = allocate_shared(DType::f32, {1, 1024});
  ASSERT_EQ(shared.view.device, Device::shared);
  std::atomic<int> wrong{0};

  for (int round = 0; round < 50; ++round) {
    queue.run(4, [&, round](int64_t part) {
      for (int64_t i = part * 256; i < (part + 1) * 256; ++i) {
        values<float>(shared.view)[i] = static_cast<float>(round);
      }
    });
    add(queue, {.a = shared, .b = shared, .y = twice});
    queue.run(4, [&, round](int64_t part) {
      for (int64_t i = part * 256; i < (part + 1) * 256; ++i) {
        if (values<float>(twice.view)[i] != 2.0f * static_cast<float>(round)) ++wrong;
      }
    });
  }
  queue.wait();

  EXPECT_EQ(wrong, 0);
}

TEST_F(DeviceTest, ANumberThatLeadsOutsideIsAnErrorOfTheQueueUntilItRecovers) {
  Queue queue(pool_, Device::cuda);
  const Buffer ids = allocate_shared(DType::i32, {3});
  const int32_t numbers[] = {1, 9, 0};
  std::memcpy(ids.view.data, numbers, sizeof numbers);
  const Buffer weight = allocate(Device::cuda, DType::f32, {4, 8});
  const Buffer y = allocate(Device::cuda, DType::f32, {3, 8});
  std::string said;

  embed(queue, {.ids = ids, .weight = weight, .y = y});
  queue.then([&](std::exception_ptr error) {
    said = kernel_error([&] {
      if (error) std::rethrow_exception(error);
    });
  });
  bool ran = false;
  queue.run(1, [&](int64_t) { ran = true; });
  EXPECT_THAT(kernel_error([&] { queue.wait(); }), HasSubstr("embed id 9 at row 1, wanted 0 to 3"));
  EXPECT_THAT(said, HasSubstr("embed id 9 at row 1"));
  EXPECT_FALSE(ran);

  values<int32_t>(ids.view)[1] = 3;
  embed(queue, {.ids = ids, .weight = weight, .y = y});
  queue.wait();
}

TEST_F(DeviceTest, AQueueThatRecoversGoesOnBehindAnError) {
  Queue queue(pool_, Device::cuda);
  const Buffer x = allocate_shared(DType::f32, {1, 4});
  std::fill_n(values<float>(x.view), 4, 1.0f);

  queue.run(1, [](int64_t) { throw KernelError("thrown on purpose"); });
  add(queue, {.a = x, .b = x, .y = x});  // is skipped
  queue.recover();
  add(queue, {.a = x, .b = x, .y = x});
  queue.wait();

  EXPECT_EQ(values<float>(x.view)[0], 2.0f);
}

// Each operation enqueues the next one, so only cancel can end it; what the GPU has begun ends first.
TEST_F(DeviceTest, CancelSkipsWhatHasNotBegunAndWaitsForTheRest) {
  Queue queue(pool_, Device::cuda);
  const Buffer x = allocate_shared(DType::f32, {1, 4});
  std::fill_n(values<float>(x.view), 4, 0.0f);
  int runs = 0, callbacks = 0, failed = 0;
  std::function<void(int64_t)> again = [&](int64_t) {
    ++runs;
    add(queue, {.a = x, .b = x, .y = x});
    queue.run(1, again);
    queue.then([&](std::exception_ptr error) { ++callbacks, failed += error != nullptr; });
  };

  queue.run(1, again);
  queue.cancel(std::make_exception_ptr(KernelError("enough")));

  EXPECT_EQ(callbacks, runs);
  EXPECT_LE(failed, 2) << "of the last operations that have run";
  queue.wait();  // nothing is left to throw
  values<float>(x.view)[1] = 1.0f;
  add(queue, {.a = x, .b = x, .y = x});
  queue.wait();
  EXPECT_EQ(values<float>(x.view)[1], 2.0f);
}

TEST_F(DeviceTest, ATensorOfTheHostIsRefusedBeforeAnythingIsQueued) {
  Queue queue(pool_, Device::cuda);
  const Buffer host = allocate_f32({2, 3}), gpu = allocate(Device::cuda, DType::f32, {2, 3});

  EXPECT_EQ(kernel_error([&] { add(queue, {.a = host, .b = gpu, .y = gpu}); }),
            "add a [2, 3] f32 is in memory of the host, wanted the GPU's or shared memory");
  queue.wait();
}

TEST_F(DeviceTest, MoreMemoryThanThereIsIsABadAllocAndTheGpuGoesOn) {
  EXPECT_THROW(allocate(Device::cuda, DType::f32, {int64_t{1} << 40}), std::bad_alloc);

  const Buffer small = allocate(Device::cuda, DType::f32, {1 << 20});
  EXPECT_GT(buffer_use(Device::cuda).live_bytes, 0);
}

TEST_F(DeviceTest, FreedMemoryIsTakenAgain) {
  void* first = nullptr;
  {
    const Buffer buffer = allocate(Device::cuda, DType::f32, {123, 457});
    first = buffer.view.data;
  }

  EXPECT_EQ(allocate(Device::cuda, DType::f32, {123, 457}).view.data, first);
}

/// In a process of its own, for nothing of the GPU can be used behind it.
int read_where_nothing_is() {
  ThreadPool pool(1);
  Queue queue(pool, Device::cuda);
  Tensor lost = tensor(reinterpret_cast<float*>(uint64_t{64} << 40), {1, 64});
  lost.device = Device::cuda;
  const Buffer y = allocate(Device::cuda, DType::f32, {1, 64});
  add(queue, {.a = lost, .b = lost, .y = y});
  bool called = false;
  queue.then([&](std::exception_ptr error) { called = error != nullptr; });
  try {
    queue.wait();
  } catch (const cuda::DeviceError& error) {
    return called && error.is_lost() ? 7 : 8;
  }
  return 9;
}

TEST_F(DeviceTest, AnIllegalAccessIsADeviceErrorThatSaysTheGpuIsLost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");

  EXPECT_EXIT(std::_Exit(read_where_nothing_is()), testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace troupe::tests
