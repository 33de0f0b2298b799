// What the coordinator's core hears and what it wants done. Plain data: an actor plays it, or a
// model of crashes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "actors/messages/role.h"
#include "runtime/error.h"
#include "runtime/proto/step.pb.h"

namespace troupe::actors {

/// Names what is under way. An answer to something of an older generation is late, and dropped.
using Generation = uint64_t;

/// Why a request had no answer.
enum class NoAnswer : uint8_t {
  dead,     ///< whoever was asked has ended: its supervisor starts it again
  late,     ///< the deadline has passed
  refused,  ///< a typed error
};

namespace heard {
struct Run {};
/// What the run stands at, whoever coordinated it before.
struct Standing {
  Generation generation;
  std::optional<wire::StepRecord> appended;  ///< the last commit of this process
  bool is_saving;                            ///< a checkpoint's file work is under way
};
struct Collected { Generation generation; wire::StepReport report; };
struct Prepared { Generation generation; wire::Prepared part; };
/// A process holds blocks that are not what they were.
struct Damaged { Generation generation; std::string text; bool has_copies; };
struct Durable { Generation generation; };
struct HashDurable { uint64_t step; };
struct Applied { Generation generation; wire::Applied part; };
struct Copied { Generation generation; };  ///< the checkpointer has its copy
struct Evaluated { Generation generation; wire::Evaluation evaluation; };
struct Failed { Generation generation; NoAnswer kind; std::string text; };
struct TimePassed { Generation generation; };
struct Restarted { Role role; std::string text; };  ///< the text names actor and reason
struct Saved { uint64_t step; };                    ///< a checkpoint's file work has ended
struct Stop {};                                     ///< the run ends after the step under way
struct Pause {};  ///< likewise, for it to go on at once: nothing is saved for that
}  // namespace heard
using Heard = std::variant<heard::Run, heard::Standing, heard::Collected, heard::Prepared, heard::Damaged,
                           heard::Durable, heard::HashDurable, heard::Applied, heard::Copied, heard::Evaluated,
                           heard::Failed, heard::TimePassed, heard::Restarted, heard::Saved,
                           heard::Stop, heard::Pause>;

namespace wanted {
struct Standing { Generation generation; };                            ///< -> Standing
struct Compute { Generation generation; wire::BeginStep begin; };      ///< -> Collected
struct Prepare { Generation generation; wire::BeginStep begin; };      ///< -> Prepared, each crew
struct Append { Generation generation; wire::StepRecord record; };     ///< -> Durable
struct Apply { Generation generation; wire::StepRecord record; bool with_hashes; };  ///< -> Applied
struct Announce { wire::StepDone done; };
struct JournalHash { uint64_t step, hash; };                           ///< -> HashDurable
struct Save { Generation generation; wire::StepRecord record; };       ///< -> Copied, later Saved
struct Evaluate { Generation generation; wire::StepRecord record; };   ///< -> Evaluated
struct Report { wire::Evaluation evaluation; };
struct Wait { Generation generation; std::chrono::milliseconds time; };  ///< -> TimePassed
struct Note { std::string text; };  ///< why a step is done again
struct End { runtime::Errc code; std::string text; };  ///< ok: the run is done
}  // namespace wanted
using Wanted = std::variant<wanted::Standing, wanted::Compute, wanted::Prepare, wanted::Append,
                            wanted::Apply, wanted::Announce, wanted::JournalHash, wanted::Save,
                            wanted::Evaluate, wanted::Report, wanted::Wait, wanted::Note,
                            wanted::End>;

}  // namespace troupe::actors
