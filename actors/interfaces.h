// Who can be told what: every actor's interface. Start reading here.
//
// One step: coordinator -> trainer -> crews (one a process) -> stages -> attention shards, routers ->
// expert shards, and back; then coordinator -> crews -> optimizer shards (prepare, commit). Token
// messages (runtime/wire.h) are sent one way, each naming its unit of work; requests have deadlines
// and end in an answer or an error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "actors/train/batch.h"
#include "runtime/caf_shim.h"
#include "runtime/type_ids.h"
#include "runtime/wire.h"

namespace troupe::actors {

using runtime::Pb;
using runtime::TokenMessage;

/// A step's tokens, by micro-batch. Shared by the stages, never changed. A process is sent those that
/// its stages read; of the others it has empty ones.
struct StepTokens {
  std::shared_ptr<const std::vector<MicroBatch>> micro_batches;
};

/// Bytes of tokens between processes, and back: an empty handle if they are no tokens.
std::string to_bytes(const StepTokens& tokens);
StepTokens tokens_from(std::string_view bytes);

template <class Inspector>
bool inspect(Inspector& f, StepTokens& x) {
  const auto get = [&x] { return to_bytes(x); };
  const auto set = [&x](const std::string& bytes) {
    x = tokens_from(bytes);
    return x.micro_batches != nullptr;
  };
  return f.object(x).fields(f.field("tokens", get, set));
}

}  // namespace troupe::actors

// The wire identity of the actors' words: only append.
CAF_BEGIN_TYPE_ID_BLOCK(troupe_actors, caf::first_custom_type_id + 100)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, begin_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, start_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, forward_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, backward_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, attended_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, routed_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, expert_rows_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, report_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, prepare_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, commit_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, evaluate_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, run_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, done_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, resume_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, fault_atom)
  CAF_ADD_TYPE_ID(troupe_actors, (troupe::actors::StepTokens))
  CAF_ADD_ATOM(troupe_actors, troupe::actors, append_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, save_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, saved_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, alarm_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, stop_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, history_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, restarted_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, gradients_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, weights_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, state_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, gather_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, scatter_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, joined_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, dispatched_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, reduced_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, restore_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, restored_atom)
  CAF_ADD_ATOM(troupe_actors, troupe::actors, pause_atom)
CAF_END_TYPE_ID_BLOCK(troupe_actors)

namespace troupe::actors {

/// What every actor with a queue of its own is told by its queue: continue with `ticket`; an
/// operator threw.
#define TROUPE_LANE_INTERFACE                    \
  caf::result<void>(resume_atom, uint64_t),      \
      caf::result<void>(fault_atom, std::string)

/// A step begins, or begins again: drop what belongs to older epochs; answer when the queue is
/// empty. Errors: stale_epoch.
#define TROUPE_BEGIN_INTERFACE caf::result<void>(begin_atom, Pb<wire::BeginStep>)

/// MLA over whole micro-batches, all layers of a stage. Tells its stage (attended).
using AttentionShard = caf::typed_actor<
    TROUPE_LANE_INTERFACE, TROUPE_BEGIN_INTERFACE,
    caf::result<void>(forward_atom, TokenMessage),               // x [T, D] -> x + MLA(x)
    caf::result<void>(backward_atom, TokenMessage),              // gradient of that -> of x
    caf::result<Pb<wire::StepReport>>(report_atom, uint64_t)>;   // when its queue is empty

/// Gate, dispatch and combine of one MoE layer. Tells expert shards, then its stage (routed).
using Router = caf::typed_actor<
    TROUPE_LANE_INTERFACE, TROUPE_BEGIN_INTERFACE,
    caf::result<void>(forward_atom, TokenMessage),               // normed x [T, D] -> routed sum
    caf::result<void>(backward_atom, TokenMessage),              // gradient of that -> of x
    caf::result<void>(expert_rows_atom, TokenMessage),           // from an expert shard
    caf::result<Pb<wire::StepReport>>(report_atom, uint64_t)>;   // loads and balance losses

/// A set of routed experts in every MoE layer of a stage. Tells the router that asked.
using ExpertShard = caf::typed_actor<
    TROUPE_LANE_INTERFACE, TROUPE_BEGIN_INTERFACE,
    caf::result<void>(dispatched_atom, TokenMessage),            // of another process: its shards' rows
    caf::result<void>(forward_atom, TokenMessage),               // rows [R, D] -> rows
    caf::result<void>(backward_atom, TokenMessage),              // rows' gradients, weights [R]
    caf::result<Pb<wire::StepReport>>(report_atom, uint64_t)>;

/// Plays its list of operations: embedding, norms, dense MLPs, shared experts, head, MTP inputs.
using Stage = caf::typed_actor<
    TROUPE_LANE_INTERFACE, TROUPE_BEGIN_INTERFACE,
    caf::result<Pb<wire::StepReport>>(start_atom, StepTokens),   // losses, when its list is played
    caf::result<void>(forward_atom, TokenMessage),               // from the stage before
    caf::result<void>(backward_atom, TokenMessage),              // from the stage behind
    caf::result<void>(attended_atom, TokenMessage),
    caf::result<void>(routed_atom, TokenMessage)>;

/// A set of state blocks: norms of their gradients, then their update. Where blocks are shared with
/// other processes: sends those that own them gradients, and gets their weights (ZeRO-1).
using OptimizerShard = caf::typed_actor<
    TROUPE_LANE_INTERFACE,
    TROUPE_BEGIN_INTERFACE,                                            // clears their gradients
    caf::result<Pb<wire::Prepared>>(prepare_atom, Pb<wire::BeginStep>),
    caf::result<Pb<wire::Applied>>(commit_atom, Pb<wire::StepRecord>, bool),  // with hashes?
    caf::result<void>(gradients_atom, TokenMessage),            // sums [n] i64 of blocks
    caf::result<void>(weights_atom, TokenMessage),              // of blocks after a step, [n] f32
    caf::result<void>(state_atom, TokenMessage),                // weights, moments, EMA of blocks
    caf::result<void>(reduced_atom, TokenMessage),              // whole sums of the ward's, [n] f32
    caf::result<void>(restored_atom, TokenMessage),             // what this process, a new one, lacks
    caf::result<void>(restore_atom, Pb<wire::StepRecord>, int32_t),  // a process gets what it lacks
    caf::result<void>(gather_atom, Pb<wire::StepRecord>),       // that state comes to process 0
    caf::result<void>(scatter_atom, Pb<wire::StepRecord>)>;     // process 0's goes to everybody

/// Leads the actors of one process through a step: one message a phase and process.
using Crew = caf::typed_actor<
    TROUPE_BEGIN_INTERFACE,                                            // queues empty, gradients zero
    caf::result<Pb<wire::StepReport>>(start_atom, Pb<wire::BeginStep>, StepTokens),
    caf::result<Pb<wire::Prepared>>(prepare_atom, Pb<wire::BeginStep>),
    caf::result<Pb<wire::Applied>>(commit_atom, Pb<wire::StepRecord>, bool),  // with hashes?
    caf::result<void>(gather_atom, Pb<wire::StepRecord>),
    caf::result<void>(scatter_atom, Pb<wire::StepRecord>),
    caf::result<void>(restore_atom, Pb<wire::StepRecord>, int32_t)>;

/// Draws a step's tokens, leads the crews through it, and reports.
using Trainer = caf::typed_actor<
    caf::result<Pb<wire::StepReport>>(begin_atom, Pb<wire::BeginStep>)>;

/// Scores the held-out text under a committed state.
using Evaluator = caf::typed_actor<
    caf::result<Pb<wire::Evaluation>>(evaluate_atom, Pb<wire::StepRecord>)>;

/// Makes commits durable. Answers when a record is on the disk, however long that takes.
using Journal = caf::typed_actor<
    caf::result<void>(append_atom, Pb<wire::JournalEntry>),
    caf::result<Pb<wire::StepRecord>, bool>(history_atom),  // last commit, is a state being saved?
    caf::result<void>(resume_atom)>;           // its own: the disk is tried again

/// Saves states. Answers when it has a copy and the next apply may overwrite the state.
using Checkpointer = caf::typed_actor<
    caf::result<void>(save_atom, Pb<wire::StepRecord>),
    caf::result<void>(resume_atom)>;           // a copy, or hashes of units, wait to be written

/// The one actor with authority: begins steps, decides commits, updates the routing bias.
using Coordinator = caf::typed_actor<
    caf::result<void>(saved_atom, uint64_t),   // a checkpoint's file work has ended, well or not
    caf::result<void>(stop_atom),              // the run ends after the step under way
    caf::result<void>(pause_atom),             // likewise, without a checkpoint: it goes on at once
    caf::result<void>(restarted_atom, uint8_t, std::string),  // a Role; the actor and why
    caf::result<void>(resume_atom, uint64_t),  // its own: a while has passed
    caf::result<void>(run_atom)>;              // begin, or go on in another's place

/// In process 0, for the other processes of the run: takes their crews, and what the coordinator is to
/// hear of their actors.
using FrontDeskHandle = caf::typed_actor<
    caf::result<void>(joined_atom, int32_t, caf::actor),       // a process; its crew
    caf::result<void>(restarted_atom, uint8_t, std::string)>;  // as the coordinator's

#undef TROUPE_LANE_INTERFACE
#undef TROUPE_BEGIN_INTERFACE

}  // namespace troupe::actors
