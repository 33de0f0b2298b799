// What the formats lose: the reasons for the tiles of DeepSeek-V3's recipe, as numbers.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/kernels/ops/formats.h"

namespace troupe::tests {
namespace {

using namespace kernels;

std::map<std::string, std::vector<float>> rounded_by_all(const Buffer& x) {
  std::map<std::string, std::vector<float>> out;
  for (const Format& format : formats()) out[format.name] = rounded_by(format, x);
  return out;
}

TEST(RoundingErrors, OfNormalNumbersAreThoseOfTheFormatsFractions) {
  // A format with f fraction bits errs by at most 2^-(f+1), at random by about 0.41 of that; the
  // numbers that fall below its normal ones by more. LogFMT's depends on the range of its tiles.
  const std::map<std::string, std::pair<double, double>> bounds{
      {"BF16", {0.0014, 0.0018}},
      {"E4M3 1x128", {0.023, 0.029}},
      {"E4M3 1x128, power of 2", {0.023, 0.029}},
      {"E4M3 128x1", {0.023, 0.029}},
      {"E4M3 128x128", {0.023, 0.029}},
      {"E4M3 per tensor", {0.023, 0.029}},
      {"E5M6 1x128, power of 2", {0.0029, 0.0036}},
      {"MXFP8 1x32", {0.023, 0.030}},
      {"LogFMT-8 1x128", {0.012, 0.018}},
      {"LogFMT-10 1x128", {0.0030, 0.0045}}};
  const Buffer x = normal({512, 512}, 21);
  const auto in = to_vector(x);
  const auto all = rounded_by_all(x);

  EXPECT_EQ(all.size(), bounds.size());
  for (const auto& [name, y] : all) {
    const double error = relative_distance(in, y);
    EXPECT_GT(error, bounds.at(name).first) << name;
    EXPECT_LT(error, bounds.at(name).second) << name;
  }
}

// The report, section 3.3.2: tiles let a scale follow its neighbours, so an outlier harms its tile
// alone.
TEST(RoundingErrors, OutliersHarmATensorUnderOneScaleManyTimesMoreThanTiles) {
  const Buffer x = with_outliers(1024, 512, 22);
  const auto in = to_vector(x);
  auto all = rounded_by_all(x);
  const double tiles = relative_error(in, all["E4M3 1x128"]);
  const double blocks = relative_error(in, all["E4M3 128x128"]);
  const double tensor = relative_error(in, all["E4M3 per tensor"]);

  EXPECT_GT(tensor, 8 * tiles);
  EXPECT_GT(tensor, 2 * blocks);
  EXPECT_GT(blocks, 2 * tiles);
}

// The report, appendix B.2: gradients of activations in 128 x 128 blocks made training diverge,
// since tokens differ and a block has one scale for 128 of them.
TEST(RoundingErrors, BlocksOfGradientsLoseTheSmallTokensThatTilesKeep) {
  const Buffer dy = token_gradients(512, 256, 23);
  const auto in = to_vector(dy);
  auto all = rounded_by_all(dy);

  EXPECT_LT(relative_error(in, all["E4M3 1x128"]), 0.06);
  EXPECT_GT(relative_error(in, all["E4M3 128x128"]), 0.5);  // most of most rows are 0
}

// Insights into DeepSeek-V3, section 3.2: at 8 bits LogFMT is finer than E4M3, at 10 it is about
// what E5M6 is at 12.
TEST(RoundingErrors, LogfmtIsFinerThanE4m3AtTheSameBits) {
  const Buffer x = normal({256, 512}, 24);
  const auto in = to_vector(x);
  auto all = rounded_by_all(x);

  EXPECT_LT(1.4 * relative_distance(in, all["LogFMT-8 1x128"]),
            relative_distance(in, all["E4M3 1x128"]));
  EXPECT_LT(relative_distance(in, all["LogFMT-10 1x128"]),
            1.5 * relative_distance(in, all["E5M6 1x128, power of 2"]));
}

}  // namespace
}  // namespace troupe::tests
