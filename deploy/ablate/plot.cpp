#include "deploy/ablate/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace troupe::deploy {
namespace {

constexpr double width = 860, height = 440;
constexpr double left = 70, right = 640, top = 44, bottom = 390;
// Okabe and Ito's colours, which tell apart for everybody; then the same ones dashed.
constexpr const char* colours[] = {"#000000", "#e69f00", "#56b4e9", "#009e73",
                                   "#d55e00", "#0072b2", "#cc79a7", "#999933"};

struct Frame {
  double steps = 1, low = std::numeric_limits<double>::infinity(), high = -low;

  double x(double step) const {
    return left + (right - left) * (step - 1) / std::max(steps - 1, 1.0);
  }
  double y(double value) const { return bottom - (bottom - top) * (value - low) / (high - low); }
};

Frame frame_of(const std::vector<Curve>& curves) {
  Frame frame;
  for (const Curve& curve : curves) {
    frame.steps = std::max(frame.steps, static_cast<double>(curve.values.size()));
    for (size_t i = curve.values.size() / 10; i < curve.values.size(); ++i) {
      if (!std::isfinite(curve.values[i])) continue;
      frame.low = std::min(frame.low, curve.values[i]);
      frame.high = std::max(frame.high, curve.values[i]);
    }
  }
  if (!(frame.low <= frame.high)) frame.low = 0, frame.high = 1;
  if (frame.low == frame.high) frame.high = frame.low + 1;
  return frame;
}

/// 1, 2 or 5 times a power of ten, so that about `wanted` of them span `range`.
double tick_size(double range, double wanted) {
  const double raw = range / wanted, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) return factor * power;
  }
  return 10 * power;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') out += "&lt;";
    else if (c == '&') out += "&amp;";
    else out += c;
  }
  return out;
}

std::string grid(const Frame& frame) {
  std::string svg;
  const double dy = tick_size(frame.high - frame.low, 6);
  for (double v = std::ceil(frame.low / dy) * dy; v <= frame.high + dy / 1e6; v += dy) {
    const double y = frame.y(v);
    svg += fmt::format("<line x1='{}' x2='{}' y1='{:.1f}' y2='{:.1f}' stroke='#ddd'/>"
                       "<text x='{}' y='{:.1f}' text-anchor='end'>{:.4g}</text>\n",
                       left, right, y, y, left - 6, y + 4, v);
  }
  const double dx = std::max(1.0, tick_size(frame.steps, 6));
  for (double s = dx; s <= frame.steps; s += dx) {
    svg += fmt::format("<text x='{:.1f}' y='{}' text-anchor='middle'>{:.0f}</text>\n", frame.x(s),
                       bottom + 18, s);
  }
  return svg + fmt::format("<path d='M{0} {1}V{2}H{3}' fill='none' stroke='#333'/>\n", left, top,
                           bottom, right);
}

std::string line(const Frame& frame, const Curve& curve, const std::string& style) {
  std::string points;
  for (size_t i = 0; i < curve.values.size(); ++i) {
    if (!std::isfinite(curve.values[i])) continue;
    const double value = std::clamp(curve.values[i], frame.low, frame.high);
    points += fmt::format("{:.1f},{:.1f} ", frame.x(static_cast<double>(i + 1)), frame.y(value));
  }
  return fmt::format("<polyline points='{}' fill='none' stroke-width='1.6' {}/>\n", points, style);
}

}  // namespace

std::string plot_svg(const PlotArgs& args) {
  const Frame frame = frame_of(args.curves);
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}' "
      "font-family='sans-serif' font-size='12'>\n<rect width='{0}' height='{1}' fill='#fff'/>\n"
      "<text x='{2}' y='24' font-size='15'>{3}</text>\n"
      "<text x='16' y='{4}' transform='rotate(-90 16 {4})' text-anchor='middle'>{5}</text>\n"
      "<text x='{6}' y='{7}' text-anchor='middle'>step</text>\n",
      width, height, left, escaped(args.title), (top + bottom) / 2, escaped(args.y_label),
      (left + right) / 2, bottom + 38);
  svg += grid(frame);
  for (size_t i = 0; i < args.curves.size(); ++i) {
    const std::string style = fmt::format("stroke='{}'{}", colours[i % std::size(colours)],
                                          i < std::size(colours) ? "" : " stroke-dasharray='5 3'");
    const double y = top + 8 + 18 * static_cast<double>(i);
    svg += line(frame, args.curves[i], style);
    svg += fmt::format("<line x1='{}' x2='{}' y1='{}' y2='{}' stroke-width='2.5' {}/>"
                       "<text x='{}' y='{}'>{}</text>\n",
                       right + 16, right + 44, y, y, style, right + 50, y + 4,
                       escaped(args.curves[i].name));
  }
  return svg + "</svg>\n";
}

}  // namespace troupe::deploy
