// `troupe bench kernels` on a GPU: a row of every kind of family, and what the table says of it.
#include "deploy/bench/kernels/bench_kernels.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "deploy/bench/kernels/families.h"
#include "kernels/cuda/device/device.h"
#include "tests/program.h"

namespace troupe::tests {
namespace {

using testing::AllOf;
using testing::Ge;
using testing::HasSubstr;

class BenchKernelsOnGpu : public ProgramTest {
 protected:
  void SetUp() override {
    const std::string reason = kernels::cuda::why_no_gpu();
    if (!reason.empty()) GTEST_SKIP() << "no GPU to compute on: " << reason;
  }
  nlohmann::json table(const std::string& arguments) {
    EXPECT_EQ(troupe("bench kernels --device cuda --rounds 2 --json table.json " + arguments), 0) << output_;
    return nlohmann::json::parse(read_file(folder_ / "table.json"));
  }
};

TEST_F(BenchKernelsOnGpu, TheTableIsPrintedAndWritten) {
  const auto json = table("--only masked --only gate");

  EXPECT_THAT(output_, AllOf(HasSubstr("peers: none; medians of 2 rounds"), HasSubstr("\nFP8 masked "),
                             HasSubstr("32 of 192 x 4096 x 7168"), HasSubstr(" our dense "),
                             HasSubstr("\ngeometric means "), HasSubstr("<= 10 us: ")));
  EXPECT_THAT(json.at("gpu").get<std::string>(), HasSubstr("NVIDIA"));
  EXPECT_EQ(json.at("arithmetic"), "sm_90a.1");
  EXPECT_EQ(json.at("rounds"), 2);
  EXPECT_GT(json.at("copy_bytes_a_second"), 1e11);
  EXPECT_GT(json.at("fp8_flop_a_second"), 1e13);
  ASSERT_EQ(json.at("rows").size(), 5u);
  for (const auto& row : json.at("rows")) {
    EXPECT_GT(row.at("us"), 1.0) << row;
    EXPECT_GT(row.at("share"), 0.001) << row;
    EXPECT_LT(row.at("share"), 1.5) << row;
  }
  const auto& masked = json.at("rows").at(0);
  EXPECT_EQ(masked.at("peer"), "our dense");
  EXPECT_EQ(masked.at("ratio").get<double>(), masked.at("peer_us").get<double>() / masked.at("us").get<double>());
  EXPECT_EQ(json.at("rows").at(4).at("targets").at(0).at("wanted"), 10);
}

TEST_F(BenchKernelsOnGpu, EveryFamilyHasRows) {
  const auto json = table("");

  std::vector<std::string> measured, wanted;
  for (const auto& family : json.at("families")) measured.push_back(family.at("family"));
  for (const auto& family : deploy::kernel_bench::families()) wanted.push_back(family.name);
  EXPECT_EQ(measured, wanted);
}

}  // namespace
}  // namespace troupe::tests
