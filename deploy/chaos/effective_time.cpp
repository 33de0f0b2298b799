#include "deploy/chaos/effective_time.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {

EffectiveTime effective_time(const std::vector<StepTime>& steps,
                             const std::vector<wire::Event>& events) {
  EffectiveTime time;
  std::vector<double> undisturbed;
  for (const StepTime& one : steps) {
    time.steps = std::max(time.steps, one.step);
    if (one.attempts == 1 && one.seconds > 0) undisturbed.push_back(one.seconds);
  }
  if (undisturbed.empty() || events.empty()) return time;
  std::sort(undisturbed.begin(), undisturbed.end());
  time.step_seconds = undisturbed[undisturbed.size() / 2];
  const auto [first, last] = std::minmax_element(
      events.begin(), events.end(),
      [](const wire::Event& a, const wire::Event& b) { return a.unix_us() < b.unix_us(); });
  time.wall_seconds = static_cast<double>(last->unix_us() - first->unix_us()) / 1e6;
  return time;
}

EffectiveTime effective_time_of(const std::filesystem::path& run_folder) {
  std::ifstream file(run_folder / "metrics.jsonl");
  if (!file) throw std::runtime_error("cannot read " + (run_folder / "metrics.jsonl").string());
  std::vector<StepTime> steps;
  for (std::string line; std::getline(file, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    // Evaluations stand between the steps; a run that was killed leaves half a line.
    if (entry.is_discarded() || !entry.contains("attempts")) continue;
    steps.push_back({entry.value("step", uint64_t{0}), entry.value("seconds", 0.0),
                     entry.value("attempts", 0u)});
  }
  return effective_time(steps, runtime::read_events(run_folder / "events").events);
}

}  // namespace troupe::deploy
