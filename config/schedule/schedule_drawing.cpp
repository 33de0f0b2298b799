#include "config/schedule/schedule_drawing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace troupe::config {
namespace {

using Kind = Operation::Kind;

constexpr double margin = 24, title_height = 40, legend_height = 40, axis_height = 30;
constexpr double heading_height = 30;
constexpr double label_width = 136, summary_width = 150, row_height = 34, box_height = 28;
constexpr double plot_width = 1100;

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

const char* color_of(Kind kind, bool is_upper) {
  switch (kind) {
    case Kind::forward:
      return is_upper ? "#9dc3f0" : "#3f78c4";
    case Kind::backward:
      return is_upper ? "#a5d7ae" : "#3b9456";
    case Kind::backward_input:
      return is_upper ? "#b5e0da" : "#2d938a";
    case Kind::backward_weight:
      return is_upper ? "#f6d79b" : "#d9972c";
  }
  return "";
}

std::string text_at(double x, double y, const char* style, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\">{}</text>\n", x, y, style,
                     escaped(text));
}

/// A number without needless digits.
std::string short_number(double value) { return fmt::format("{:.4g}", value); }

/// 1, 2 or 5 times a power of ten, so that an axis has at most about twelve marks.
double mark_distance(double length) {
  const double least = std::max(length, 1e-9) / 12;
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (double step : {1.0, 2.0, 5.0}) {
    if (step * power >= least) return step * power;
  }
  return 10 * power;
}

double longest(const TimelinesDrawing& drawing) {
  double length = 0;
  for (const Timeline& each : drawing.timelines) length = std::max(length, each.played.makespan);
  return length;
}

constexpr const char* waiting_color = "#f3b8b5";

class Drawer {
 public:
  explicit Drawer(const TimelinesDrawing& drawing)
      : drawing_(drawing),
        length_(longest(drawing)),
        scale_(plot_width / std::max(length_, 1e-9)),
        left_(margin + label_width) {}

  std::string draw() {
    const double width = left_ + plot_width + summary_width + margin;
    double height = margin + title_height + legend_height + margin;
    for (const Timeline& each : drawing_.timelines) height += height_of(each);
    out_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "width=\"{0:.0f}\" height=\"{1:.0f}\" font-family=\"Helvetica, Arial, sans-serif\">\n"
        "<style>.title{{font-size:20px;font-weight:600}}.label{{font-size:13px;fill:#333}}"
        ".note{{font-size:12px;fill:#666}}.mark{{font-size:11px;fill:#666;text-anchor:middle}}"
        ".on{{font-size:10px;fill:#fff;text-anchor:middle}}"
        ".off{{font-size:10px;fill:#1b2a3a;text-anchor:middle}}</style>\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        width, height);
    out_ += text_at(margin, margin + 18, "title", drawing_.title);
    draw_legend();
    double top = margin + title_height + legend_height;
    for (const Timeline& each : drawing_.timelines) {
      draw_timeline(each, top);
      top += height_of(each);
    }
    return out_ + "</svg>\n";
  }

 private:
  static double rows_height(const Timeline& timeline) {
    return row_height * static_cast<double>(timeline.played.ranks.size());
  }
  static double heading_of(const Timeline& timeline) { return timeline.heading.empty() ? 0 : heading_height; }
  static double height_of(const Timeline& timeline) {
    return heading_of(timeline) + rows_height(timeline) + axis_height;
  }

  void draw_timeline(const Timeline& timeline, double top) {
    if (!timeline.heading.empty()) out_ += text_at(margin, top + 16, "label", timeline.heading);
    top += heading_of(timeline);
    draw_axis(top, top + rows_height(timeline));
    for (size_t rank = 0; rank < timeline.played.ranks.size(); ++rank) {
      draw_rank(timeline, rank, top + row_height * static_cast<double>(rank));
    }
  }

  void box(double x, double y, double width, double height, const char* color) {
    out_ += fmt::format(
        "<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" rx=\"1.5\" "
        "fill=\"{}\" stroke=\"#ffffff\" stroke-width=\"0.8\"/>\n",
        x, y, width, height, color);
  }

  /// Kinds that are played, each with the color of its lower stage and, if there is one, upper one.
  void draw_legend() {
    std::set<std::pair<Kind, bool>> used;
    for (const Timeline& timeline : drawing_.timelines) {
      for (const auto& rank : timeline.played.ranks) {
        for (const auto& played : rank) {
          used.insert({played.operation.kind, is_upper(rank, played.operation)});
        }
      }
    }
    double x = margin;
    const double y = margin + title_height;
    const auto entry = [&](Kind kind, const char* name) {
      if (!used.contains({kind, false}) && !used.contains({kind, true})) return;
      for (bool upper : {false, true}) {
        if (!used.contains({kind, upper})) continue;
        box(x, y, 18, 14, color_of(kind, upper));
        x += 20;
      }
      out_ += text_at(x + 4, y + 12, "label", name);
      x += 22 + 6.4 * static_cast<double>(std::char_traits<char>::length(name));
    };
    entry(Kind::forward, "forward");
    entry(Kind::backward, "backward");
    entry(Kind::backward_input, "backward for inputs");
    entry(Kind::backward_weight, "backward for weights");
    if (std::ranges::any_of(drawing_.timelines, [](const auto& each) { return !each.waiting.empty(); })) {
      const std::string name = "waits for another process";
      box(x, y, 18, 14, waiting_color);
      out_ += text_at(x + 24, y + 12, "label", name);
      x += 42 + 6.4 * static_cast<double>(name.size());
    }
    const bool has_two = std::ranges::any_of(used, [](const auto& use) { return use.second; });
    if (has_two)
      out_ += text_at(x + 4, y + 12, "note", "dark: the rank's lower stage, light: its upper one");
  }

  void draw_axis(double top, double y) {
    const double distance = mark_distance(length_);
    for (double at = 0; at <= length_ + 1e-9; at += distance) {
      const double x = left_ + at * scale_;
      out_ += fmt::format(
          "<line x1=\"{0:.2f}\" y1=\"{1:.1f}\" x2=\"{0:.2f}\" y2=\"{2:.1f}\" "
          "stroke=\"#dddddd\"/>\n",
          x, top - 4, y + 4);
      out_ += text_at(x, y + 18, "mark", short_number(at));
    }
    out_ += text_at(
        left_ + plot_width + 14, y + 18, "note",
        drawing_.time_unit.empty() ? "time in units of F" : "time in " + drawing_.time_unit);
  }

  void draw_rank(const Timeline& timeline, size_t rank, double y) {
    const auto& played = timeline.played.ranks[rank];
    out_ += text_at(margin, y + 18, "label", fmt::format("rank {}", rank));
    std::set<int> stages;
    for (const auto& each : played) stages.insert(each.operation.stage);
    std::string names;
    for (int stage : stages) names += (names.empty() ? "" : ", ") + std::to_string(stage);
    out_ += text_at(margin + 52, y + 18, "note",
                    fmt::format("stage{} {}", stages.size() == 1 ? "" : "s", names));
    out_ += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"#f1f1f1\"/>\n",
        left_, y, std::min(plot_width, timeline.played.makespan * scale_), box_height);
    if (rank < timeline.waiting.size()) {
      for (const WaitingTime& each : timeline.waiting[rank]) {
        box(left_ + each.begin * scale_, y, (each.end - each.begin) * scale_, box_height, waiting_color);
      }
    }
    bool is_second = false;
    for (const auto& each : played) {
      const bool is_first = each.operation.is_beside_next;
      const double height = is_first || is_second ? box_height / 2 : box_height;
      draw_operation(each, is_upper(played, each.operation), y + (is_second ? box_height / 2 : 0), height);
      is_second = is_first;
    }
    const int live = largest_live(timeline.lists.of(static_cast<int>(rank)));
    out_ +=
        text_at(left_ + plot_width + 14, y + 18, "note",
                fmt::format("idle {}, {} live", short_number(timeline.played.idle[rank]), live));
  }

  void draw_operation(const PlayedOperation& each, bool upper, double y, double height) {
    const double x = left_ + each.begin * scale_;
    const double width = (each.end - each.begin) * scale_;
    box(x, y, width, height, color_of(each.operation.kind, upper));
    const std::string number = std::to_string(each.operation.micro_batch);
    if (width < 3 + 5.6 * static_cast<double>(number.size())) return;
    out_ += text_at(x + width / 2, y + height / 2 + 3.6, upper ? "off" : "on", number);
  }

  /// Whether it is of the second stage of a rank that holds two.
  static bool is_upper(const std::vector<PlayedOperation>& played, const Operation& operation) {
    return std::ranges::any_of(played, [&](const PlayedOperation& other) {
      return other.operation.stage < operation.stage;
    });
  }

  const TimelinesDrawing& drawing_;
  const double length_, scale_, left_;
  std::string out_;
};

}  // namespace

std::string draw_timelines(const TimelinesDrawing& drawing) { return Drawer(drawing).draw(); }

std::string draw_schedule(const ScheduleDrawing& drawing) {
  return draw_timelines({.title = drawing.title,
                         .time_unit = drawing.time_unit,
                         .timelines = {{.heading = "", .lists = drawing.lists, .played = drawing.played,
                                        .waiting = {}}}});
}

}  // namespace troupe::config
