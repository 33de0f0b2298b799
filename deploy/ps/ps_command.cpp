#include "deploy/ps/ps_command.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "deploy/ps/ps_table.h"
#include "runtime/telemetry/cell_file.h"
#include "runtime/telemetry/cell_reader.h"
#include "runtime/telemetry/printable.h"

namespace troupe::deploy {
namespace {

using runtime::GlassView;
using runtime::ProcessState;

struct Options {
  std::string target;
  bool is_json = false;
  bool is_watch = false;
  bool is_all = false;
};

constexpr const char* examples = R"(Examples:
  troupe ps                   every process of this user
  troupe ps runs/first        who works on this run, or was killed at it
  troupe ps --watch 4711      every second, until Ctrl-C

The processes are not asked: what a stuck or stopped one does, and since when, is shown as well.)";

std::optional<pid_t> as_pid(const std::string& text) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || end != text.data() + text.size() || pid <= 0) return std::nullopt;
  return pid;
}

/// All that this user's processes show or have left. A file that is going or being made is none.
std::vector<GlassView> all_views() {
  std::vector<GlassView> views;
  for (const auto& path : runtime::find_cell_files(runtime::cell_folders())) {
    try {
      views.push_back(runtime::read_cells(path));
    } catch (const runtime::CellError& error) {
      std::cerr << "note: " << runtime::printable(error.what()) << "\n";
    }
  }
  return views;
}

bool is_living(const GlassView& view) { return view.process != ProcessState::ended; }

std::string folder_of(const std::string& target) {
  return runtime::printable(std::filesystem::weakly_canonical(target).string());
}

/// Those of the target: the living, or else those that were killed, or else an error.
std::vector<GlassView> wanted_views(const Options& options) {
  const auto pid = as_pid(options.target);
  const std::string folder = options.target.empty() || pid ? "" : folder_of(options.target);
  std::vector<GlassView> living, ended;
  for (GlassView& view : all_views()) {
    const bool is_wanted = options.target.empty() || (pid && view.pid == *pid) ||
                           (!folder.empty() && view.run_folder == folder);
    if (is_wanted) (is_living(view) ? living : ended).push_back(std::move(view));
  }
  if (!living.empty()) return living;
  return options.target.empty() ? living : ended;
}

[[noreturn]] void throw_none(const Options& options) {
  const std::string& target = options.target;
  if (target.empty())
    throw std::runtime_error("found no process of this user that runs, wanted one");
  if (const auto pid = as_pid(target)) {
    throw std::runtime_error(runtime::process_status(*pid)
                                 ? "process " + target +
                                       " shows no actors: found no cell file of it"
                                 : "found no process " + target);
  }
  if (!std::filesystem::is_directory(target)) {
    throw std::runtime_error(target +
                             ": found no such folder, wanted a run folder or a process id");
  }
  throw std::runtime_error(target +
                           ": found no process that works on this run, nor cells of one "
                           "that was killed");
}

int columns_of_terminal() {
  winsize size{};
  return ::isatty(STDOUT_FILENO) == 1 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0
             ? size.ws_col
             : 0;
}

void print_json(const std::vector<GlassView>& views) {
  auto processes = nlohmann::ordered_json::array();
  for (const GlassView& view : views) processes.push_back(ps_json(view));
  const nlohmann::ordered_json all{{"processes", std::move(processes)}};
  std::cout << all.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
            << std::endl;
}

using Clock = std::chrono::steady_clock;

/// A look at a process, and when.
struct Look {
  GlassView view;
  Clock::time_point when;
};

void print_tables(const Options& options, const std::vector<GlassView>& views,
                  const std::map<std::string, Look>& before) {
  const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  std::string text;
  for (const GlassView& view : views) {
    const auto earlier = before.find(view.path.string());
    const bool is_known =
        earlier != before.end() && earlier->second.view.process_start == view.process_start;
    const std::chrono::duration<double> time =
        is_known ? Clock::now() - earlier->second.when : Clock::duration::zero();
    text +=
        (text.empty() ? "" : "\n") + ps_table({.view = view,
                                               .before = is_known ? &earlier->second.view : nullptr,
                                               .seconds = time.count(),
                                               .is_all = options.is_all,
                                               .is_coloured = is_terminal,
                                               .columns = columns_of_terminal()});
  }
  if (options.is_watch) {
    // Home, and clear what is below; elsewhere blocks follow each other.
    text = is_terminal ? "\x1b[H\x1b[J" + text : text + "\n";
  }
  std::cout << text << std::flush;
}

/// Until nothing of the target lives; without a target, for ever.
void watch(const Options& options) {
  std::map<std::string, Look> before;
  for (;;) {
    std::vector<GlassView> views = wanted_views(options);
    if (options.is_json) {
      print_json(views);
    } else if (views.empty()) {
      std::cout << (options.target.empty() ? "no process runs\n" : "it has ended\n") << std::flush;
    } else {
      print_tables(options, views, before);
    }
    if (!std::cout) throw std::runtime_error("standard output cannot be written");
    const bool is_over = std::none_of(views.begin(), views.end(), is_living);
    if (is_over && !options.target.empty()) return;
    before.clear();
    for (GlassView& view : views) {
      const std::string path = view.path.string();
      before[path] = {std::move(view), Clock::now()};
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

void show(const Options& options) {
  const std::vector<GlassView> views = wanted_views(options);
  if (views.empty()) throw_none(options);
  if (options.is_watch) {
    watch(options);
  } else if (options.is_json) {
    print_json(views);
  } else {
    print_tables(options, views, {});
  }
}

}  // namespace

void add_ps_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("ps", "Show what every actor does and since when");
  command->add_option("TARGET", options->target, "run folder or process id; default: all");
  command->add_flag("--json", options->is_json, "one JSON object; with --watch one a second");
  command->add_flag("--watch", options->is_watch, "every second, with messages a second");
  command->add_flag("--all", options->is_all, "all lives that are over, not the last of each name");
  command->footer(examples);
  command->callback([options] { show(*options); });
}

}  // namespace troupe::deploy
