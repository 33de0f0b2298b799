#include "deploy/chaos/small_disk.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

using deploy::SmallDisk;
namespace fs = std::filesystem;

class SmallDiskTest : public testing::Test {
 protected:
  SmallDiskTest() { fs::remove_all(folder_); }
  ~SmallDiskTest() override { fs::remove_all(folder_); }
  void SetUp() override {
    if (const std::string why = SmallDisk::why_none(); !why.empty()) GTEST_SKIP() << why;
  }
  bool can_write(const std::string& name, size_t bytes) const {
    std::ofstream out(folder_ / name);
    out << std::string(bytes, 'y') << std::flush;
    return static_cast<bool>(out);
  }

  const fs::path folder_ = own_folder();
};

TEST_F(SmallDiskTest, IsFullUntilItIsCleared) {
  SmallDisk disk(folder_, 1 << 20);
  EXPECT_TRUE(can_write("before", 10'000));

  EXPECT_GT(disk.fill(), 900'000u);
  EXPECT_FALSE(can_write("meanwhile", 1));
  fs::remove(folder_ / "before");
  EXPECT_GT(disk.fill(), 0u) << "what gets free is taken too";
  EXPECT_FALSE(can_write("meanwhile", 1));

  disk.clear();
  EXPECT_TRUE(can_write("behind", 10'000));
}

TEST_F(SmallDiskTest, WhatItHoldsCanBeKept) {
  {
    SmallDisk disk(folder_, 1 << 20);
    ASSERT_TRUE(can_write("kept", 10'000));
    disk.fill();
    disk.keep();
  }

  EXPECT_EQ(fs::file_size(folder_ / "kept"), 10'000u);
  EXPECT_FALSE(fs::exists(folder_ / "filler"));
}

}  // namespace
}  // namespace troupe::tests
