#include "runtime/cluster/watch/hang_watch.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "runtime/cluster/watch/failure_detector.h"
#include "runtime/cluster/watch/urgent_thread.h"
#include "runtime/telemetry/cell_reader.h"

namespace troupe::runtime {
namespace {

/// They wait for disks, which may be full or slow, or score all of a text in one message: no limit is known for
/// that, and the run shows it.
bool may_take_long(const std::string& role) {
  return role == "journal" || role == "checkpointer" || role == "evaluator";
}

std::vector<Occupation> occupations(const Glass& glass) {
  std::vector<Occupation> all;
  const auto read = [&glass](uint64_t offset, void* to, size_t bytes) {
    return glass.read(offset, to, bytes);
  };
  const GlassView view = view_cells(read, "this process", CellMoment::now(), ProcessState::running);
  for (const CellView& cell : view.cells) {
    if (cell.is_dead || may_take_long(cell.role)) continue;
    if (!cell.message.empty()) {
      all.push_back({cell.name, cell.message, cell.turn, cell.step});
    } else if (cell.waits_for == "its lane") {
      all.push_back({cell.name, cell.waits_for, cell.messages, cell.step});
    }
  }
  return all;
}

}  // namespace

HangWatch::HangWatch(Args args)
    : glass_(args.glass),
      step_(std::move(args.step)),
      hangs_(std::move(args.hangs)),
      judge_({.first = args.first_limit,
              .least = std::min(least, args.first_limit),
              .times = times,
              .steps = steps}) {
  thread_ = std::thread([this] {
    make_urgent();
    loop();
  });
}

HangWatch::~HangWatch() {
  {
    std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  over_.notify_all();
  thread_.join();
}

void HangWatch::loop() {
  AwakeClock clock(2 * interval);
  std::unique_lock lock(mutex_);
  while (!over_.wait_for(lock, std::chrono::duration<double>(interval), [&] { return is_over_; })) {
    const std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
    const auto hang =
        judge_.look(occupations(glass_), step_(), clock.look(now.count()));
    if (hang) hangs_(describe(*hang));
  }
}

}  // namespace troupe::runtime
