// A process with an actor that hangs ends itself: the run goes on with another in its place. Where there is no
// other it says so.
#pragma once

#include <memory>

#include "actors/company.h"
#include "runtime/cluster/watch/hang_watch.h"

namespace troupe::deploy {

/// As long as it lives, this process is killed (SIGKILL: nothing in it is to be waited for) when one of
/// the company's actors hangs, with a HANDLER_HUNG event before. The company, which has its glass,
/// outlives it.
std::unique_ptr<runtime::HangWatch> end_if_hung(actors::Company& company);

/// The event, and a line to stderr, alone: somebody may want to look.
std::unique_ptr<runtime::HangWatch> tell_if_hung(actors::Company& company);

}  // namespace troupe::deploy
