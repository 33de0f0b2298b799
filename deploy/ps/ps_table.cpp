#include "deploy/ps/ps_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "deploy/ps/ps_tree.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::deploy {
namespace {

using runtime::CellView;

/// No name is pushed further than this: deeper ones only come of damaged files.
constexpr int most_depth = 20;

size_t characters(const std::string& text) {
  size_t n = 0;
  for (size_t at = 0; at < text.size(); at += runtime::decode_utf8(text, at).length) ++n;
  return n;
}

/// The first `most` characters.
std::string head_of(const std::string& text, size_t most) {
  size_t at = 0;
  for (size_t n = 0; at < text.size() && n < most; ++n) {
    at += runtime::decode_utf8(text, at).length;
  }
  return text.substr(0, at);
}

/// "forward step 7 micro-batch 2 layer 3", as far as it is said.
std::string message_of(const CellView& cell) {
  if (cell.message.empty()) return {};
  std::string text = cell.message;
  if (cell.unit.step == 0) return text;
  text += fmt::format(" {}.{}", cell.unit.step, cell.unit.micro_batch);
  if (cell.unit.layer >= 0) text += fmt::format(" layer {}", cell.unit.layer);
  return text;
}

std::string wait_of(const CellView& cell) {
  if (cell.waits_for.empty()) return {};
  const std::string detail = cell.wait_detail == 0 ? "" : fmt::format(" {}", cell.wait_detail);
  return fmt::format("{}{} for {}", cell.waits_for, detail, short_time(cell.wait_ns));
}

std::string trouble_of(const CellView& cell) {
  if (cell.end_reason.empty()) return cell.last_error;
  return cell.last_error.empty() ? cell.end_reason : cell.end_reason + ": " + cell.last_error;
}

std::string percent(double part, double whole) {
  return whole > 0 ? fmt::format("{:.0f}%", std::min(100.0 * part / whole, 100.0)) : "";
}

/// The same life in an earlier look; nullptr: it had none.
const CellView* earlier(const PsTableArgs& args, size_t index) {
  if (args.before == nullptr || index >= args.before->cells.size()) return nullptr;
  const CellView& now = args.view.cells[index];
  const CellView& then = args.before->cells[index];
  return then.name == now.name && then.incarnation == now.incarnation ? &then : nullptr;
}

struct Column {
  const char* title;
  bool is_number;
};
constexpr Column columns[] = {{"NAME", false},      {"STATE", false},   {"MAILBOX", true},
                              {"PARKED", true},     {"MESSAGES", true}, {"MSG/S", true},
                              {"BUSY", true},       {"NOW", false},     {"SINCE", true},
                              {"WAITS FOR", false}, {"STEP", true},     {"RESTARTS", true},
                              {"LAST ERROR", false}};
constexpr size_t rate_column = 5;

using Line = std::vector<std::string>;

Line line_of(const PsTableArgs& args, const PsRow& row) {
  const CellView& cell = args.view.cells[row.cell];
  const CellView* then = cell.is_dead ? nullptr : earlier(args, row.cell);
  const auto since = [](uint64_t now, uint64_t before) {
    return static_cast<double>(now > before ? now - before : 0);
  };
  const std::string rate =
      then == nullptr || args.seconds <= 0
          ? ""
          : fmt::format("{:.0f}", since(cell.messages, then->messages) / args.seconds);
  const std::string busy =
      then == nullptr
          ? percent(static_cast<double>(cell.busy_ns), static_cast<double>(cell.life_ns))
          : percent(since(cell.busy_ns, then->busy_ns), since(cell.life_ns, then->life_ns));
  const std::string indent(2 * static_cast<size_t>(std::min(row.depth, most_depth)), ' ');
  const auto number = [](uint64_t n) { return n == 0 ? std::string("-") : std::to_string(n); };
  return {indent + cell.name,
          runtime::to_string(cell.state),
          std::to_string(cell.mailbox),
          std::to_string(cell.parked),
          std::to_string(cell.messages),
          rate,
          busy,
          message_of(cell),
          cell.message.empty() ? "" : short_time(cell.message_ns),
          wait_of(cell),
          number(cell.step),
          std::to_string(cell.restarts),
          trouble_of(cell)};
}

std::string joined(const Line& line, const std::vector<size_t>& widths) {
  std::string text;
  for (size_t i = 0; i < line.size(); ++i) {
    if (widths[i] == 0) continue;
    const std::string space(widths[i] - characters(line[i]), ' ');
    text += (text.empty() ? "" : "  ") + (columns[i].is_number ? space + line[i] : line[i] + space);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string heading(const runtime::GlassView& view) {
  const auto dead = std::count_if(view.cells.begin(), view.cells.end(),
                                  [](const CellView& cell) { return cell.is_dead; });
  return fmt::format("process {}  {}  {}  actors {}  dead {}", view.pid,
                     runtime::to_string(view.process), view.run_folder,
                     static_cast<int64_t>(view.cells.size()) - dead, dead);
}

}  // namespace

std::string ps_table(const PsTableArgs& args) {
  std::vector<Line> lines{{}};
  for (const Column& column : columns) lines[0].push_back(column.title);
  const auto rows = ps_rows(args.view.cells, args.is_all);
  for (const PsRow& row : rows) lines.push_back(line_of(args, row));
  std::vector<size_t> widths(std::size(columns), 0);
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], characters(line[i]));
  }
  if (args.before == nullptr) widths[rate_column] = 0;
  const auto cut = [&](const std::string& text) {
    return args.columns > 0 ? head_of(text, static_cast<size_t>(args.columns)) : text;
  };
  std::string out = cut(heading(args.view)) + "\n";
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool is_grey = args.is_coloured && i > 0 && args.view.cells[rows[i - 1].cell].is_dead;
    const std::string text = cut(joined(lines[i], widths));
    out += (is_grey ? "\x1b[90m" + text + "\x1b[0m" : text) + "\n";
  }
  return out;
}

nlohmann::ordered_json ps_json(const runtime::GlassView& view) {
  auto actors = nlohmann::ordered_json::array();
  for (const CellView& c : view.cells) {
    nlohmann::ordered_json actor{{"name", c.name},         {"role", c.role},
                                 {"parent", c.parent},     {"incarnation", c.incarnation},
                                 {"restarts", c.restarts}, {"state", runtime::to_string(c.state)},
                                 {"mailbox", c.mailbox},   {"parked", c.parked},
                                 {"messages", c.messages}, {"bytes", c.bytes},
                                 {"step", c.step},         {"life_ns", c.life_ns},
                                 {"busy_ns", c.busy_ns}};
    actor["message"] = nullptr;
    if (!c.message.empty()) {
      actor["message"] = {{"what", c.message},
                          {"step", c.unit.step},
                          {"micro_batch", c.unit.micro_batch},
                          {"layer", c.unit.layer},
                          {"ns", c.message_ns}};
    }
    actor["waits_for"] = nullptr;
    if (!c.waits_for.empty()) {
      actor["waits_for"] = {{"what", c.waits_for}, {"detail", c.wait_detail}, {"ns", c.wait_ns}};
    }
    actor["last_error"] = c.last_error;
    actor["end"] = nullptr;
    if (c.is_dead) actor["end"] = {{"reason", c.end_reason}, {"ns_ago", c.ended_ns}};
    actors.push_back(std::move(actor));
  }
  return {{"pid", view.pid},
          {"state", runtime::to_string(view.process)},
          {"run_folder", view.run_folder},
          {"created_unix_us", view.created_unix_us},
          {"file", view.path.string()},
          {"actors", std::move(actors)}};
}

std::string short_time(uint64_t ns) {
  const uint64_t us = ns / 1000, ms = us / 1000, s = ms / 1000;
  if (us < 1000) return fmt::format("{}us", us);
  if (s < 1) return fmt::format("{}ms", ms);
  if (s < 60) return fmt::format("{}.{}s", s, ms % 1000 / 100);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

}  // namespace troupe::deploy
