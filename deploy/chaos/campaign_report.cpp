#include "deploy/chaos/campaign_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace troupe::deploy {
namespace {

using wire::Event;

double ms_between(uint64_t from, uint64_t to) { return (static_cast<double>(to) - static_cast<double>(from)) / 1000; }

/// Sorted.
struct Times {
  std::vector<double> ms;
  double at(double share) const {
    return ms[std::min(ms.size() - 1, static_cast<size_t>(share * static_cast<double>(ms.size())))];
  }
};

template <class Member>
Times times_of(const std::vector<const FaultOutcome*>& outcomes, Member member) {
  Times times;
  for (const FaultOutcome* one : outcomes) {
    if (const auto& value = one->*member; value && !one->lost_state) times.ms.push_back(*value);
  }
  std::sort(times.ms.begin(), times.ms.end());
  return times;
}

std::string text_of(const Times& times) {
  if (times.ms.empty()) return fmt::format("{:>24}", "-");
  return fmt::format("{:>8.1f}{:>8.1f}{:>8.1f}", times.at(0.5), times.at(0.99), times.ms.back());
}

nlohmann::json json_of(const Times& times) {
  if (times.ms.empty()) return nullptr;
  return {{"p50", times.at(0.5)}, {"p99", times.at(0.99)}, {"max", times.ms.back()}};
}

using Outcomes = std::vector<const FaultOutcome*>;

std::string row(const std::string& name, const Outcomes& of) {
  int again = 0, lost = 0;
  for (const FaultOutcome* one : of) {
    again += one->begun_again;
    lost += one->lost_state ? 1 : 0;
  }
  return fmt::format("{:<38}{:>6}{}{}{:>7}{:>6}\n", name, of.size(),
                     text_of(times_of(of, &FaultOutcome::detected_ms)),
                     text_of(times_of(of, &FaultOutcome::again_ms)), again, lost);
}

enum class Of : uint8_t { actors, processes, surroundings };

Outcomes those(const std::vector<FaultOutcome>& all, Of of) {
  Outcomes some;
  for (const FaultOutcome& one : all) {
    const actors::Fault fault = one.failpoint.fault;
    const Of its = is_of_process(fault)         ? Of::processes
                   : is_of_surroundings(fault) ? Of::surroundings
                                               : Of::actors;
    if (its == of) some.push_back(&one);
  }
  return some;
}

}  // namespace

bool CampaignResult::is_good() const {
  return exit_code == 0 && unwitnessed.empty() && hash == quiet_hash && !hash.empty();
}

std::vector<FaultOutcome> outcomes_of(const std::vector<Event>& events) {
  std::vector<FaultOutcome> outcomes;
  uint64_t begin = 0;
  for (const Event& event : events) {
    if (event.kind() == Event::FAILPOINT) {
      const actors::Failpoint failpoint = actors::failpoint_of(event.text());
      if (!outcomes.empty() && !outcomes.back().detected_ms) {
        outcomes.back().was_overtaken = is_of_process(failpoint.fault);
      }
      outcomes.push_back({.failpoint = failpoint});
      begin = event.unix_us();
      continue;
    }
    if (outcomes.empty()) continue;
    FaultOutcome& last = outcomes.back();
    const bool of_process = is_of_process(last.failpoint.fault);
    const bool is_end = event.kind() == (of_process || is_of_surroundings(last.failpoint.fault) ? Event::PROCESS_LOST : Event::ACTOR_ENDED);
    if (is_end && !last.detected_ms) last.detected_ms = ms_between(begin, event.unix_us());
    if (event.kind() == Event::STEP_BEGUN_AGAIN) {
      ++last.begun_again;
      last.again_ms = ms_between(begin, event.unix_us());
    }
    if (event.kind() == Event::STATE_LOST) last.lost_state = true;
    const bool is_loss = event.kind() == Event::PROCESS_LOST || event.kind() == Event::PROCESS_FENCED;
    if (is_loss && event.text().find("for lack of memory") != std::string::npos) last.lacked_memory = true;
  }
  return outcomes;
}

std::vector<std::string> without_lack_of_memory(const std::vector<FaultOutcome>& outcomes,
                                                uint64_t kills_elsewhere) {
  std::vector<std::string> found;
  for (const FaultOutcome& one : outcomes) {
    const bool is_missing = one.failpoint.fault == actors::Fault::oom && !one.lacked_memory && !one.was_overtaken;
    if (is_missing && kills_elsewhere > 0) {
      --kills_elsewhere;
      continue;
    }
    if (is_missing) found.push_back(to_string(one.failpoint) + " (no end for lack of memory)");
  }
  return found;
}

namespace {

std::string effective_row(const char* name, const EffectiveTime& time) {
  return fmt::format("{:<38}{:>6}{:>10.3f}{:>10.1f}{:>9.1f} %\n", name, time.steps,
                     time.step_seconds, time.wall_seconds, 100 * time.share());
}

std::string effective_table(const CampaignResult& result) {
  std::string text = fmt::format("{:<38}{:>6}{:>10}{:>10}{:>11}\n", "effective training time", "steps",
                                 "s a step", "s in all", "share");
  text += effective_row("quiet", result.quiet_time);
  text += effective_row("with failures", result.time);
  if (!result.restarts) return text;
  return text + effective_row("with failures, from checkpoints", result.restarts->time) +
         fmt::format("from checkpoints: started again {} times, hash {}\n", result.restarts->count,
                     result.restarts->hash);
}

nlohmann::json json_of(const EffectiveTime& time) {
  return {{"steps", time.steps},
          {"step_seconds", time.step_seconds},
          {"wall_seconds", time.wall_seconds},
          {"share", time.share()}};
}

}  // namespace

std::string campaign_table(const CampaignResult& result) {
  std::map<std::string, Outcomes> rows;
  for (const FaultOutcome& one : result.outcomes) {
    const actors::Failpoint& f = one.failpoint;
    rows[fmt::format("{:<9} {:<16} {}", to_string(f.fault), to_string(f.role), to_string(f.phase))].push_back(&one);
  }
  std::string text = fmt::format("{:<38}{:>6}{:>24}{:>24}{:>7}{:>6}\n", "kind      role             phase",
                                 "count", "seen ms: p50 p99 max", "again ms: p50 p99 max", "again",
                                 "pairs");
  for (const auto& [name, of] : rows) text += row(name, of);
  text += row("all of actors", those(result.outcomes, Of::actors));
  text += row("all of processes", those(result.outcomes, Of::processes));
  const Outcomes around = those(result.outcomes, Of::surroundings);
  if (!around.empty()) text += row("all of disks and cables", around);
  text += fmt::format("failures {}  witnessed all {}  exit code {}  {:.1f} s (quiet {:.1f} s)\n",
                      result.outcomes.size(), result.unwitnessed.empty() ? "yes" : "no",
                      result.exit_code, result.seconds, result.quiet_seconds);
  text += effective_table(result);
  for (const std::string& one : result.unwitnessed) text += "not reached: " + one + "\n";
  text += fmt::format("hash {}  quiet {}  equal {}\n", result.hash, result.quiet_hash,
                      result.hash == result.quiet_hash ? "yes" : "NO");
  return text;
}

std::string campaign_json(const CampaignResult& result) {
  nlohmann::json faults = nlohmann::json::array();
  for (const FaultOutcome& one : result.outcomes) {
    nlohmann::json entry{{"failpoint", to_string(one.failpoint)}, {"begun_again", one.begun_again},
                         {"lost_state", one.lost_state}};
    if (one.detected_ms) entry["detected_ms"] = *one.detected_ms;
    if (one.again_ms) entry["again_ms"] = *one.again_ms;
    faults.push_back(std::move(entry));
  }
  const Outcomes processes = those(result.outcomes, Of::processes);
  nlohmann::json effective{{"quiet", json_of(result.quiet_time)}, {"failures", json_of(result.time)}};
  if (result.restarts) {
    effective["from_checkpoints"] = json_of(result.restarts->time);
    effective["from_checkpoints"]["started_again"] = result.restarts->count;
    effective["from_checkpoints"]["hash"] = result.restarts->hash;
  }
  const nlohmann::json all{{"failures", faults},
                           {"unwitnessed", result.unwitnessed},
                           {"hash", result.hash},
                           {"quiet_hash", result.quiet_hash},
                           {"exit_code", result.exit_code},
                           {"seconds", result.seconds},
                           {"quiet_seconds", result.quiet_seconds},
                           {"effective_time", effective},
                           {"processes",
                            {{"detected_ms", json_of(times_of(processes, &FaultOutcome::detected_ms))},
                             {"again_ms", json_of(times_of(processes, &FaultOutcome::again_ms))}}}};
  return all.dump(1) + "\n";
}

std::string recovery_svg(const std::vector<FaultOutcome>& outcomes) {
  constexpr double width = 640, height = 360, left = 56, right = 16, top = 34, bottom = 46;
  const Times times = times_of(those(outcomes, Of::processes), &FaultOutcome::again_ms);
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' font-family='sans-serif' "
      "font-size='12'><rect width='{0}' height='{1}' fill='white'/>"
      "<text x='{2}' y='20'>From the loss of a process to the step begun again: {3} losses</text>",
      width, height, left, times.ms.size());
  if (times.ms.empty()) return svg + "</svg>\n";
  const double most = times.ms.back() * 1.05;
  const auto x = [&](double ms) { return left + (width - left - right) * ms / most; };
  const auto y = [&](double share) { return height - bottom - (height - top - bottom) * share; };
  for (int i = 0; i <= 4; ++i) {
    svg += fmt::format("<path d='M{:.1f} {:.1f}H{:.1f}' stroke='#ddd'/><text x='{:.1f}' y='{:.1f}' "
                       "text-anchor='end'>{} %</text>",
                       left, y(i / 4.0), width - right, left - 6, y(i / 4.0) + 4, 25 * i);
    svg += fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>{:.0f}</text>",
                       x(most * i / 4), height - bottom + 18, most * i / 4);
  }
  svg += fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>milliseconds</text>",
                     (left + width - right) / 2, height - 8);
  std::string path = fmt::format("M{:.1f} {:.1f}", x(0), y(0));
  const auto n = static_cast<double>(times.ms.size());
  for (size_t i = 0; i < times.ms.size(); ++i) {
    path += fmt::format("H{:.1f}V{:.1f}", x(times.ms[i]), y(static_cast<double>(i + 1) / n));
  }
  return svg + fmt::format("<path d='{}' fill='none' stroke='#2563eb' stroke-width='2'/></svg>\n", path);
}

}  // namespace troupe::deploy
