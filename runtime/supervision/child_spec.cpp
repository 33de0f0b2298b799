#include "runtime/supervision/child_spec.h"

#include <charconv>
#include <set>

namespace troupe::runtime {
namespace {

/// So that sums of times never overflow 64-bit nanoseconds.
constexpr std::chrono::milliseconds longest_wait = std::chrono::hours(24 * 365);

/// The value of `text` in `values`, which are written out in the error.
template <class Value>
Value choose(const std::map<std::string, Value>& values, const std::string& text,
             const std::string& what, SpecErrc code) {
  const auto found = values.find(text);
  if (found != values.end()) return found->second;
  std::string wanted;
  for (const auto& [name, value] : values) wanted += (wanted.empty() ? "" : ", ") + name;
  throw SpecError(code, what + " is \"" + text + "\", wanted one of " + wanted);
}

Shutdown read_shutdown(const std::string& text, const std::string& what) {
  if (text == "brutal_kill") return Shutdown::brutal_kill();
  if (text == "infinity") return Shutdown::infinity();
  int64_t milliseconds = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, milliseconds);
  if (error != std::errc{} || stop != end) {
    throw SpecError(SpecErrc::bad_shutdown, what + " is \"" + text +
                                                "\", wanted brutal_kill, infinity or milliseconds");
  }
  return Shutdown::after(std::chrono::milliseconds(milliseconds));
}

}  // namespace

ChildSpec read_child_spec(const std::map<std::string, std::string>& fields) {
  const auto field = [&](const char* name) {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string() : found->second;
  };
  ChildSpec spec{.id = field("id"), .start = field("start")};
  const std::string child = "child " + spec.id + ": ";
  if (fields.contains("restart")) {
    spec.restart = choose<Restart>({{"permanent", Restart::permanent},
                                    {"transient", Restart::transient},
                                    {"temporary", Restart::temporary}},
                                   field("restart"), child + "restart", SpecErrc::bad_restart);
  }
  if (fields.contains("shutdown")) {
    spec.shutdown = read_shutdown(field("shutdown"), child + "shutdown");
  }
  if (fields.contains("type")) {
    spec.type = choose<ChildType>(
        {{"worker", ChildType::worker}, {"supervisor", ChildType::supervisor}}, field("type"),
        child + "type", SpecErrc::bad_type);
  }
  if (fields.contains("significant")) {
    spec.significant = choose<bool>({{"true", true}, {"false", false}}, field("significant"),
                                    child + "significant", SpecErrc::bad_significant);
  }
  return spec;
}

ChildSpec checked(ChildSpec spec, AutoShutdown auto_shutdown) {
  if (spec.id.empty()) throw SpecError(SpecErrc::missing_id, "a child has no id");
  const std::string child = "child " + spec.id + ": ";
  if (spec.start.empty()) throw SpecError(SpecErrc::missing_start, child + "start is missing");
  if (!spec.shutdown) {
    spec.shutdown = spec.type == ChildType::worker ? Shutdown{} : Shutdown::infinity();
  }
  if (spec.shutdown->timeout.count() < 0 || spec.shutdown->timeout > longest_wait) {
    throw SpecError(SpecErrc::bad_shutdown,
                    child + "shutdown is " + std::to_string(spec.shutdown->timeout.count()) +
                        " ms, wanted 0 to " + std::to_string(longest_wait.count()));
  }
  if (spec.significant && spec.restart == Restart::permanent) {
    throw SpecError(SpecErrc::bad_significant,
                    child + "is significant and permanent, wanted transient or temporary");
  }
  if (spec.significant && auto_shutdown == AutoShutdown::never) {
    throw SpecError(SpecErrc::bad_significant,
                    child + "is significant, but its supervisor's auto_shutdown is never");
  }
  return spec;
}

std::vector<ChildSpec> checked(std::vector<ChildSpec> specs, const SupervisorFlags& flags) {
  std::set<std::string> ids;
  for (ChildSpec& spec : specs) {
    spec = checked(std::move(spec), flags.auto_shutdown);
    if (!ids.insert(spec.id).second) {
      throw SpecError(SpecErrc::duplicate_id, "two children have the id " + spec.id);
    }
  }
  if (flags.strategy == Strategy::simple_one_for_one && specs.size() != 1) {
    throw SpecError(SpecErrc::bad_template, "simple_one_for_one has " +
                                                std::to_string(specs.size()) +
                                                " specifications, wanted 1");
  }
  return specs;
}

void check(const SupervisorFlags& flags) {
  if (flags.intensity < 0) {
    throw SpecError(SpecErrc::bad_intensity, "intensity is " + std::to_string(flags.intensity) +
                                                 ", wanted at least 0");
  }
  if (flags.period.count() <= 0) {
    throw SpecError(SpecErrc::bad_period, "period is " + std::to_string(flags.period.count()) +
                                              " s, wanted more than 0");
  }
  if (!flags.backoff) return;
  const auto [min, max] = *flags.backoff;
  if (min.count() <= 0 || max < min || max > longest_wait) {
    throw SpecError(SpecErrc::bad_backoff,
                    "back-off is " + std::to_string(min.count()) + " to " +
                        std::to_string(max.count()) + " ms, wanted 0 < min <= max <= " +
                        std::to_string(longest_wait.count()));
  }
}

}  // namespace troupe::runtime
