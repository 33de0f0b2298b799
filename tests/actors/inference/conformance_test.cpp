#include "actors/inference/conformance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "runtime/checkpoint/error.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using namespace actors;

const fs::path goldens = fs::path(TROUPE_SOURCE_DIR) / "tests/goldens";

class Conformance : public testing::TestWithParam<const char*> {};

// The cases were computed by Hugging Face transformers; see conformance.h for what they hold.
TEST_P(Conformance, EveryValueIsWithinItsLimit) {
  kernels::ThreadPool pool(2);
  kernels::Queue queue(pool);

  const ConformanceReport report = conform(goldens / GetParam(), queue);

  EXPECT_FALSE(report.checks.empty());
  for (const ConformanceCheck& check : report.checks) {
    EXPECT_TRUE(check.passed()) << check.name << ": " << check.difference << " over "
                                << check.limit;
  }
}
INSTANTIATE_TEST_SUITE_P(Goldens, Conformance, testing::Values("plain", "yarn-mtp", "fp8"),
                         [](const auto& info) {
                           return std::string(info.param) == "yarn-mtp" ? "yarn_mtp" : info.param;
                         });

TEST(ConformanceFiles, ACutFileIsRefusedByName) {
  const fs::path folder = fs::path(testing::TempDir()) / "conformance_cut";
  fs::remove_all(folder);
  fs::copy(goldens / "fp8", folder);
  fs::resize_file(folder / "expected.safetensors", 5000);
  kernels::ThreadPool pool(1);
  kernels::Queue queue(pool);

  try {
    conform(folder, queue);
    FAIL() << "no error";
  } catch (const runtime::CheckpointError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("expected.safetensors"));
  }
}

TEST(ConformanceFiles, AFolderWithoutExpectedValuesIsRefusedByName) {
  kernels::ThreadPool pool(1);
  kernels::Queue queue(pool);

  EXPECT_THROW(conform(goldens, queue), std::runtime_error);
}

TEST(ConformanceReport, NotANumberFails) {
  const ConformanceReport report{{{"logits", std::nan(""), 1.0}}, {}};

  EXPECT_FALSE(report.passed());
}

}  // namespace
}  // namespace troupe::tests
