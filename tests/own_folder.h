// A folder of a test's own: of no other test, nor of the same one in another run beside it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace troupe::tests {

/// Not made yet. Of the test that is running.
inline std::filesystem::path own_folder() {
  const auto& test = *testing::UnitTest::GetInstance()->current_test_info();
  return std::filesystem::path(testing::TempDir()) /
         (std::string(test.test_suite_name()) + "_" + test.name() + "-" + std::to_string(::getpid()));
}

}  // namespace troupe::tests
