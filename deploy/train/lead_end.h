// How a run ends: for all who might lead it, and with its model.
#pragma once

#include <string>

#include "actors/train/timeline.h"
#include "deploy/cluster/lead/leader.h"
#include "deploy/train/prepared_run.h"

namespace troupe::deploy {

/// Nobody else is to go on with the run. Waits until etcd has it.
void end_everywhere(runtime::Leadership& leadership, Leader& leader, const std::string& text);

/// Whoever took over would fail in the same way. If etcd does not hear it, it does so.
void end_in_failure(runtime::Leadership& leadership, const std::string& why);

/// Writes the model of the state that a record has led to, all of which is in the arena.
void export_run(const PreparedRun& prepared, const runtime::StateArena& arena,
                const actors::Timeline& timeline, const wire::StepRecord& record);

}  // namespace troupe::deploy
