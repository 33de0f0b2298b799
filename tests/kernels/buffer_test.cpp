#include "kernels/buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

TEST(Buffer, IsAlignedAndHasItsShape) {
  for (const int64_t n : {0, 1, 15, 16, 17, 1000, 65'537}) {
    const Buffer buffer = allocate(DType::i64, {n, 3});

    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.view.data) % 64, 0u);
    EXPECT_EQ(describe(buffer), "[" + std::to_string(n) + ", 3] i64");
    EXPECT_TRUE(buffer);
  }
  EXPECT_FALSE(Buffer{});
}

TEST(Buffer, ZerosAreZerosAlsoInMemoryUsedBefore) {
  const void* used = nullptr;
  {
    const Buffer first = normal({1000}, 1);
    used = first.view.data;
  }

  const Buffer second = allocate_zeros(DType::f32, {1000});

  EXPECT_EQ(second.view.data, used) << "the freed memory is taken again";
  EXPECT_EQ(to_vector(second), std::vector<float>(1000, 0.0f));
}

constexpr int64_t mib = 1 << 20;

/// Bytes of this process that are in memory.
int64_t resident_bytes() {
  int64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * 4096;
}

TEST(Buffer, SparseZerosTakeMemoryWhereTheyAreWritten) {
  const int64_t resident = resident_bytes();
  const int64_t live = buffer_use().live_bytes;
  {
    const Buffer buffer = allocate_sparse_zeros(DType::f32, {1024, 256 * 1024});
    EXPECT_EQ(buffer_use().live_bytes, live + 1024 * mib);
    EXPECT_LT(resident_bytes(), resident + 64 * mib);
    float* const x = values<float>(buffer.view);
    EXPECT_EQ(x[200 * mib], 0.0f);

    std::fill_n(x + 64 * mib, 64 * mib, 1.0f);
    EXPECT_GE(resident_bytes(), resident + 200 * mib);
    EXPECT_LT(resident_bytes(), resident + 384 * mib);
  }
  EXPECT_LT(resident_bytes(), resident + 64 * mib);
  EXPECT_EQ(buffer_use().live_bytes, live);
}

TEST(Buffer, CopiesShareTheMemoryUntilTheLastIsGone) {
  const int64_t before = buffer_use().live_bytes;
  Buffer first = allocate_f32({1024});
  Buffer second = first;

  EXPECT_EQ(buffer_use().live_bytes, before + 4096);
  first = Buffer{};
  EXPECT_EQ(buffer_use().live_bytes, before + 4096);
  second = Buffer{};
  EXPECT_EQ(buffer_use().live_bytes, before);
  EXPECT_GE(buffer_use().peak_bytes, before + 4096);
}

/// Buffers of 1 MiB and a multiple of it.
std::vector<Buffer> buffers(int64_t count, int64_t mebibytes = 1) {
  std::vector<Buffer> held;
  for (int64_t i = 0; i < count; ++i) held.push_back(allocate(DType::f8_e4m3, {mebibytes * mib}));
  return held;
}

/// What is in use and kept is at most what was in use at once, and an eighth.
TEST(KeptBuffers, AreNoMoreThanWasInUseAtOnceWhateverTheirSizes) {
  release_kept_buffers();
  for (int64_t size = 1; size <= 32; size *= 2) buffers(64 / size, size);

  EXPECT_GT(buffer_use().kept_bytes, 60 * mib);
  EXPECT_LE(buffer_use().kept_bytes, 72 * mib);
  release_kept_buffers();
  EXPECT_EQ(buffer_use().kept_bytes, 0);
}

TEST(KeptBuffers, AreTakenByWhatNeedsUpToAQuarterLess) {
  release_kept_buffers();
  const void* kept = buffers(1, 10)[0].view.data;

  const Buffer smaller = allocate(DType::f8_e4m3, {8 * mib + 1});
  const Buffer smallest = allocate(DType::f8_e4m3, {7 * mib});

  EXPECT_EQ(smaller.view.data, kept);
  EXPECT_NE(smallest.view.data, kept);
}

TEST(KeptBuffers, LendTheirPagesToOtherSizesWhenThereMayBeNoMore) {
  release_kept_buffers();
  for (Buffer& buffer : buffers(64)) std::memset(buffer.view.data, 1, mib);

  const auto larger = buffers(3, 8);  // the first has room beside what is kept

  EXPECT_EQ(static_cast<const char*>(larger[1].view.data)[0], 1);
  EXPECT_EQ(static_cast<const char*>(larger[2].view.data)[0], 1);
  EXPECT_LE(buffer_use().kept_bytes, (72 - 3 * 8) * mib);
}

TEST(KeptBuffers, OfATimeOfMoreUseGoWhenItIsLongAgo) {
  release_kept_buffers();
  buffers(256);
  const int64_t kept = buffer_use().kept_bytes;

  for (int round = 0; round < 4000; ++round) buffers(8);

  EXPECT_GE(kept, 256 * mib);
  EXPECT_LE(buffer_use().kept_bytes, 32 * mib);
}

TEST(KeptBuffers, AreBackInTheSystemWhenTheyGo) {
  release_kept_buffers();
  const int64_t resident = resident_bytes();
  for (Buffer& buffer : buffers(64)) std::memset(buffer.view.data, 1, mib);
  EXPECT_GE(resident_bytes(), resident + 60 * mib);

  release_kept_buffers();

  EXPECT_LT(resident_bytes(), resident + 16 * mib);
}

TEST(Buffer, MayBeFreedByAnotherThreadWhileOthersAllocate) {
  const int64_t before = buffer_use().live_bytes;
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([thread] {
      std::vector<Buffer> held;
      for (int64_t i = 0; i < 2000; ++i) {
        held.push_back(allocate(DType::i32, {1 + i % 77}));
        values<int32_t>(held.back().view)[0] = static_cast<int32_t>(thread);
        if (held.size() > 20) {
          EXPECT_EQ(values<int32_t>(held.front().view)[0], static_cast<int32_t>(thread));
          held.erase(held.begin());
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();

  EXPECT_EQ(buffer_use().live_bytes, before);
  release_kept_buffers();
}

TEST(Buffer, RefusesSizesThatCannotBe) {
  EXPECT_THAT(kernel_error([] { allocate_f32({3, -1}); }), HasSubstr("dimension of -1"));
  EXPECT_THAT(kernel_error([] {
                allocate_f32({int64_t{1} << 40, int64_t{1} << 40});
              }),
              HasSubstr("too large"));
  EXPECT_THAT(kernel_error([] { allocate_f32({1, 2, 3, 4, 5}); }), HasSubstr("5 dimensions"));
}

}  // namespace
}  // namespace troupe::tests
