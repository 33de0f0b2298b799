// What a caller of an actor can expect to go wrong. Everything else is an exception below the
// mailbox, which ends the actor and reaches its supervisor.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/caf_shim.h"

namespace troupe::runtime {

enum class Errc : uint8_t {
  ok = 0,
  stale_epoch,     ///< the message belongs to an epoch that is over
  wrong_step,      ///< the actor is at another step
  stopped_on_nan,  ///< a loss or gradient stayed NaN or infinite and train.on_nan is STOP
  kernel_failed,   ///< an operator threw; the text says what
  shutting_down,
  replay_differs,  ///< a step done again came to another result than the journal has
  supervisor_ended,  ///< a supervisor gave up: its children failed too often
  killed,            ///< a failpoint ended the actor
  no_progress,       ///< a step was begun again and again and never committed
  late,              ///< somebody did not answer within the deadline
  overloaded,        ///< more waits for the actor than its credit allows
  stopped_on_spike,  ///< a loss was far above its trend and train.spike.policy is STOP
  damaged,         ///< a state is not what it was when it was made, and no copy of it is left
};

std::string to_string(Errc code);
bool from_text(std::string_view text, Errc& code);
/// CAF 0.18 passes a string view of its own.
template <class Text>
bool from_string(const Text& text, Errc& code) {
  return from_text(std::string_view(text.data(), text.size()), code);
}
bool from_integer(uint8_t value, Errc& code);

template <class Inspector>
bool inspect(Inspector& f, Errc& code) {
  return caf::default_enum_inspect(f, code);
}

/// An error with its text.
caf::error make_error(Errc code, std::string text);

/// True for an error that make_error made; false for one of CAF's own.
bool is_own(const caf::error& error);

/// The text of an error that make_error made, or CAF's rendering of another.
std::string describe(const caf::error& error);

}  // namespace troupe::runtime
