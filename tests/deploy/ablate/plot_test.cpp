#include "deploy/ablate/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace troupe::deploy {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Plot, DrawsACurveAndItsName) {
  const std::string svg = plot_svg({"Loss", "nats", {{"a<b", {3.0, 2.0, 1.0}}}});

  EXPECT_THAT(svg, HasSubstr("points='70.0,44.0 355.0,217.0 640.0,390.0 '"));
  EXPECT_THAT(svg, HasSubstr("a&lt;b"));
}

TEST(Plot, LeavesOutWhatIsNotFinite) {
  const std::string svg = plot_svg({"Loss", "nats", {{"a", {1.0, NAN, INFINITY, 2.0}}}});

  EXPECT_THAT(svg, HasSubstr("points='70.0,390.0 640.0,44.0 '"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(Plot, OfNothingHasAxesAlone) {
  for (const auto& values : {std::vector<double>{}, std::vector<double>{5.0},
                             std::vector<double>{NAN}}) {
    const std::string svg = plot_svg({"Loss", "nats", {{"a", values}}});

    EXPECT_THAT(svg, HasSubstr("</svg>"));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
  }
}

}  // namespace
}  // namespace troupe::deploy
