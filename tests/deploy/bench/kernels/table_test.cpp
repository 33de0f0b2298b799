#include "deploy/bench/kernels/table.h"

#include <gmock/gmock.h>

namespace troupe::deploy::kernel_bench {
namespace {

using testing::AllOf;
using testing::DoubleNear;
using testing::HasSubstr;
using testing::Not;

const Family dense{"dense", Bound::fp8_products, {{Quantity::ratio, 1.1, true}}};
const Family few{"few", Bound::copy, {{Quantity::ratio, 2, false}, {Quantity::share, 0.6, false}}};
const Family gate{"gate", Bound::copy, {{Quantity::microseconds, 10, false}}};

Table make_table() {
  return {{.gpu = "NVIDIA H200",
           .driver = "580.1",
           .cuda = "13.0",
           .cuda_driver = "13.1",
           .arithmetic = "sm_90a.1",
           .peers = "cuBLASLt 130100",
           .date = "2026-12-01T10:00:00Z",
           .rounds = 30,
           .rates = {.copy_bytes = 4e12, .bf16_flop = 0, .fp8_flop = 1.2e15}},
          {dense, few, gate}};
}

/// Of a product of 6e11 operations: 100 us are 6000 TFLOPS.
Row dense_row(double us, double peer_us) {
  return {.family = "dense", .shape = "1 x 2 x 3", .us = us, .flop = 6e11, .bytes = 1e6,
          .peer = peer_us > 0 ? "cuBLASLt" : "", .peer_us = peer_us};
}
Row few_row(double us, double peer_us) {
  return {.family = "few", .shape = "16 x 2 x 3", .us = us, .flop = 1e9, .bytes = 2e7, .peer = "cuBLASLt",
          .peer_us = peer_us};
}

TEST(KernelTable, SharesAreOfTheRateThatBoundsTheFamily) {
  const Table table = make_table();

  EXPECT_THAT(table.share(dense_row(1000, 0)), DoubleNear(0.5, 1e-12));  // 600 of 1,200 TFLOPS
  EXPECT_THAT(table.share(few_row(10, 0)), DoubleNear(0.5, 1e-12));      // 2 of 4 TB/s
}

TEST(KernelTable, ALineHasTimesRateShareRatioAndWhetherTargetsAreMet) {
  const Table table = make_table();

  EXPECT_THAT(table.line(few_row(8, 12)),
              AllOf(HasSubstr("few"), HasSubstr("16 x 2 x 3"), HasSubstr(" 8.0 "), HasSubstr("2.50 TB/s"),
                    HasSubstr("62.5 % of copy"), HasSubstr("cuBLASLt"), HasSubstr(" 12.0  1.500"),
                    HasSubstr(">= 2.00 x: missed, >= 60 %: met\n")));
  EXPECT_THAT(table.line(dense_row(500, 600)), AllOf(HasSubstr("1200 TFLOPS"), HasSubstr("100.0 % of FP8 GEMM"),
                                                     HasSubstr("1.200\n"), Not(HasSubstr(">="))));
}

TEST(KernelTable, WithoutAPeerARatioIsNotMeasured) {
  const Table table = make_table();

  EXPECT_THAT(table.line(few_row(8, 0)), HasSubstr(" -                  -      -  >= 2.00 x: not measured, >= 60 %: met\n"));
}

TEST(KernelTable, MeansAreGeometricAndHaveTheFamilysTargets) {
  Table table = make_table();
  table.add(dense_row(100, 100));
  table.add(dense_row(100, 400));
  table.add(few_row(8, 12));
  table.add(few_row(8, 16));

  const std::string foot = table.foot();

  EXPECT_THAT(foot, HasSubstr("2   2.000"));
  EXPECT_THAT(foot, HasSubstr(">= 1.10 x: met\n"));
  EXPECT_THAT(foot, HasSubstr(">= 2.00 x: 1 of 2, >= 60 %: 2 of 2\n"));
  EXPECT_THAT(foot, Not(HasSubstr("gate")));  // no row of it
  EXPECT_THAT(foot, Not(HasSubstr("clock")));
}

// The mean of those that are left would look like the mean of all.
TEST(KernelTable, AMeanOverShapesThatThePeerLacksMeetsNoTarget) {
  Table table = make_table();
  table.add(dense_row(100, 400));
  table.add(dense_row(100, 0));

  EXPECT_THAT(table.foot(), HasSubstr(">= 1.10 x: not measured"));
  EXPECT_FALSE(table.json().at("families").at(0).at("targets").at(0).contains("met"));
}

TEST(KernelTable, JsonHasHeadRowsMeansAndVerdicts) {
  Table table = make_table();
  Row row{.family = "gate", .shape = "8 of 256", .us = 12, .flop = 0, .bytes = 2.4e7};
  row.reading = {.sm_mhz = 1980, .watts = 300.5};
  table.add(row);

  const auto json = table.json();

  EXPECT_EQ(json.at("arithmetic"), "sm_90a.1");
  EXPECT_EQ(json.at("rounds"), 30);
  EXPECT_EQ(json.at("fp8_flop_a_second"), 1.2e15);
  EXPECT_FALSE(json.contains("bf16_flop_a_second"));
  EXPECT_EQ(json.at("sm_mhz"), nlohmann::json({1980, 1980}));
  EXPECT_EQ(json.at("watts"), nlohmann::json({300.5, 300.5}));
  const auto& its = json.at("rows").at(0);
  EXPECT_EQ(its.at("bound"), "copy");
  EXPECT_NEAR(its.at("share").get<double>(), 0.5, 1e-12);
  EXPECT_FALSE(its.contains("ratio"));
  EXPECT_FALSE(its.contains("sm_mhz"));  // a reading is not of its row alone
  const auto& verdict = its.at("targets").at(0);
  EXPECT_EQ(verdict.at("of"), "us");
  EXPECT_EQ(verdict.at("wanted"), 10);
  EXPECT_EQ(verdict.at("found"), 12);
  EXPECT_EQ(verdict.at("met"), false);
  EXPECT_THAT(table.foot(), AllOf(HasSubstr("1980 to 1980 MHz"), HasSubstr("300 to 300 W")));
}

TEST(KernelTable, TheHeadSaysWhereWithWhatAndWhen) {
  EXPECT_THAT(make_table().head(),
              AllOf(HasSubstr("NVIDIA H200, driver 580.1, CUDA 13.0 (the driver knows 13.1), arithmetic sm_90a.1, "
                              "2026-12-01T10:00:00Z\n"),
                    HasSubstr("peers: cuBLASLt 130100; medians of 30 rounds"),
                    HasSubstr("copy 4.00 TB/s, FP8 GEMM 1200 TFLOPS\n"), HasSubstr("\nfamily "),
                    Not(HasSubstr("BF16"))));
}

TEST(KernelTable, ARowOfAnotherFamilyIsRefused) {
  Table table = make_table();

  EXPECT_THROW(table.add({.family = "other", .shape = "", .us = 1, .flop = 1, .bytes = 1}), std::logic_error);
}

}  // namespace
}  // namespace troupe::deploy::kernel_bench
