// Line charts as SVG.
#pragma once

#include <string>
#include <vector>

namespace troupe::deploy {

struct Curve {
  std::string name;
  std::vector<double> values;  ///< of step 1, 2, ...; what is not finite is left out
};

struct PlotArgs {
  std::string title, y_label;
  std::vector<Curve> curves;
};

/// A chart of all curves over the steps, with axes, grid and legend: a whole SVG file. The range of
/// y is that of the curves without their first tenth, where a loss falls from far above.
std::string plot_svg(const PlotArgs& args);

}  // namespace troupe::deploy
