// What a supervisor knows about its children and itself before anything runs: plain data.
// Source of defaults and checks: Erlang/OTP, stdlib, supervisor.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace troupe::runtime {

enum class Restart : uint8_t {
  permanent,  ///< always restarted
  transient,  ///< restarted unless it ended in order
  temporary,  ///< never restarted; its specification goes with it
};
enum class ChildType : uint8_t { worker, supervisor };
enum class Strategy : uint8_t { one_for_one, one_for_all, rest_for_one, simple_one_for_one };
enum class AutoShutdown : uint8_t { never, any_significant, all_significant };

/// How a child is stopped: killed at once, or asked and killed if it has not ended in time.
struct Shutdown {
  enum class Kind : uint8_t { brutal_kill, timed, infinity };
  Kind kind = Kind::timed;
  std::chrono::milliseconds timeout{5000};

  static Shutdown brutal_kill() { return {Kind::brutal_kill, {}}; }
  static Shutdown after(std::chrono::milliseconds timeout) { return {Kind::timed, timeout}; }
  static Shutdown infinity() { return {Kind::infinity, {}}; }
  bool operator==(const Shutdown&) const = default;
};

struct ChildSpec {
  std::string id;     ///< unique under its supervisor
  std::string start;  ///< names what is started; whoever plays the effects knows the names
  Restart restart = Restart::permanent;
  std::optional<Shutdown> shutdown = {};  ///< unset: 5000 ms, or infinity for a supervisor
  ChildType type = ChildType::worker;
  bool significant = false;  ///< its end may end the supervisor; see AutoShutdown
  bool operator==(const ChildSpec&) const = default;
};

/// Waits between attempts to start a child that fails: min, 2 min, 4 min, ... up to max.
struct BackoffBounds {
  std::chrono::milliseconds min;
  std::chrono::milliseconds max;
};

struct SupervisorFlags {
  Strategy strategy = Strategy::one_for_one;
  int intensity = 1;  ///< restarts allowed within `period`; one more ends the supervisor
  std::chrono::seconds period{5};
  AutoShutdown auto_shutdown = AutoShutdown::never;
  std::optional<BackoffBounds> backoff = {};  ///< not in OTP; unset: the next attempt comes at once
  size_t call_credit = 1024;                  ///< calls that may wait while the supervisor is busy
};

enum class SpecErrc : uint8_t {
  missing_id, missing_start, bad_restart, bad_shutdown, bad_type, bad_significant, duplicate_id,
  bad_intensity, bad_period, bad_backoff, bad_template
};

class SpecError : public std::runtime_error {
 public:
  SpecError(SpecErrc code, const std::string& text) : std::runtime_error(text), code_(code) {}
  SpecErrc code() const { return code_; }

 private:
  SpecErrc code_;
};

/// Reads id, start, restart, shutdown ("brutal_kill", "infinity" or milliseconds), type and
/// significant ("true", "false"). Other keys are ignored. Throws SpecError.
ChildSpec read_child_spec(const std::map<std::string, std::string>& fields);

/// The specification with its shutdown filled in. Throws SpecError if it makes no sense under a
/// supervisor with this auto_shutdown.
ChildSpec checked(ChildSpec spec, AutoShutdown auto_shutdown);

/// The same for all children of a supervisor: also ids are unique, and simple_one_for_one has
/// exactly one.
std::vector<ChildSpec> checked(std::vector<ChildSpec> specs, const SupervisorFlags& flags);

/// Throws SpecError.
void check(const SupervisorFlags& flags);

}  // namespace troupe::runtime
