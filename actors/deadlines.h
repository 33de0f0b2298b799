// Supervision law: every request has a deadline.
#pragma once

#include <chrono>

namespace troupe::actors::deadlines {

/// A part of a step: far beyond any that is alive, so that only the dead are meant.
constexpr std::chrono::minutes step{10};

/// Scoring the held-out text.
constexpr std::chrono::hours evaluation{1};

}  // namespace troupe::actors::deadlines
