#include "actors/launch.h"

#include <latch>
#include <mutex>

#include "actors/control/spike.h"

namespace troupe::actors {
namespace {

bool is_news(wire::Event::Kind kind) {
  return kind != wire::Event::ACTOR_STARTED && kind != wire::Event::CHECKPOINT_SAVED &&
         kind != wire::Event::CHECKPOINT_FAILED;  // an alarm says so
}

wire::Event spike_event(const wire::StepRecord& record) {
  wire::Event event;
  event.set_kind(wire::Event::LOSS_SPIKE);
  event.set_step(record.step());
  event.set_text(spike_text(record));
  return event;
}

/// What one coordinator has told already, another may tell again.
class Told {
 public:
  explicit Told(uint64_t journaled) : spike_(journaled) {}

  bool is_new(const wire::StepDone& done) {
    const uint64_t step = done.record().step();
    const bool has_more = step == step_ && done.has_hash() && !has_hash_;
    if (step <= step_ && !has_more) return false;
    step_ = step;
    has_hash_ = done.has_hash();
    return true;
  }
  /// A spike, once; not of a step that was committed before this process.
  bool is_new_spike(const wire::StepRecord& record) {
    if (!record.is_spike() || record.step() <= spike_) return false;
    spike_ = record.step();
    return true;
  }
  bool is_new(const wire::Evaluation& evaluation) {
    if (is_evaluated_ && evaluation.state() <= evaluated_) return false;
    is_evaluated_ = true;
    evaluated_ = evaluation.state();
    return true;
  }

 private:
  uint64_t step_ = 0, spike_, evaluated_ = 0;
  bool has_hash_ = false, is_evaluated_ = false;
};

}  // namespace

SystemConfig::SystemConfig() {
  register_message_types();
  set("caf.scheduler.policy", "sharing");
  set("caf.scheduler.max-threads", 2);
  set("caf.scheduler.max-throughput", 100);
  set("caf.logger.file.verbosity", "quiet");
  set("caf.logger.console.verbosity", "quiet");
}

void register_message_types() {
  static std::once_flag once;
  std::call_once(once, [] {
    caf::init_global_meta_objects<caf::id_block::troupe_runtime>();
    caf::init_global_meta_objects<caf::id_block::troupe_supervision>();
    caf::init_global_meta_objects<caf::id_block::troupe_actors>();
    caf::core::init_global_meta_objects();
  });
}

struct Troupe::System {
  SystemConfig config;
  caf::actor_system actors{config};
  caf::scoped_actor watcher{actors};
  std::unique_ptr<runtime::EventLog> events;
  std::unique_ptr<Staff> staff;
  caf::actor top;
  std::latch has_ended{1};
  uint64_t journaled = 0;  // steps that were committed before this process
};

Troupe::Troupe(Args args) : company_(args.company) {
  system_ = std::make_unique<System>();
  System& system = *system_;
  const auto watcher = caf::actor_cast<caf::actor>(system.watcher);
  const bool is_kept = args.storage != nullptr;
  system.journaled = args.from.commits.size();
  auto keepers = std::make_shared<Keepers>(is_kept ? std::move(args.storage->journal) : nullptr,
                                           args.from.commits.size());
  keepers->watcher = watcher;
  if (is_kept) {
    keepers->checkpoints = std::move(args.storage->checkpoints);
    system.events = std::move(args.storage->events);
  }
  company_->witness = [log = system.events.get(), watcher](wire::Event event) {
    if (log) log->append(event);
    if (is_news(event.kind())) runtime::tell(watcher, Pb<wire::Event>(std::move(event)));
  };
  const bool has_documents = args.documents && !args.documents->empty();
  system.staff = std::make_unique<Staff>(Staff::Args{
      .company = company_,
      .system = &system.actors,
      .coordinator = {.options = args.options,
                      .bias = std::move(args.bias),
                      .from = std::make_shared<const ResumePoint>(std::move(args.from)),
                      .watcher = watcher},
      .keepers = std::move(keepers),
      .has_checkpoints = is_kept,
      .documents = has_documents ? args.documents : nullptr});
  system.top = system.staff->start();
  runtime::on_end(system.top, [&system, watcher](const caf::error&) {
    // Not urgently: a blocking actor of CAF 0.18.7 does not see an urgent message while it waits.
    if (const std::string why = system.staff->failure(); !why.empty()) {
      runtime::tell(watcher, fault_atom_v, why);
    }
    system.has_ended.count_down();
  });
}

/// After an error operations may still be under way. They refer to memory of their actors, which go
/// with the directory, and of the arena, which goes after this: first actors end, then lanes.
Troupe::~Troupe() {
  runtime::stop_actor(system_->top, caf::exit_reason::user_shutdown);
  system_->has_ended.wait();
  company_->drain();
  company_->directory.clear();
  company_->witness = nullptr;
}

void Troupe::request_stop() {
  company_->is_stop_requested = true;
  if (const auto coordinator = company_->directory.find({Role::coordinator})) {
    runtime::tell(coordinator, stop_atom_v);
  }
}

void Troupe::run(const RunEvents& events) {
  caf::scoped_actor& self = system_->watcher;
  system_->staff->run();
  bool is_done = false;
  std::string error;
  Told told(system_->journaled);
  while (!is_done) {
    self->receive(
        [&](const Pb<wire::StepDone>& done) {
          if (told.is_new(*done) && events.step_done) events.step_done(*done);
          if (told.is_new_spike(done->record())) {
            company_->happened(spike_event(done->record()));
          }
        },
        [&](const Pb<wire::Evaluation>& evaluation) {
          if (told.is_new(*evaluation) && events.evaluated) events.evaluated(*evaluation);
        },
        [&](alarm_atom, const std::string& what) {
          if (events.alarm) events.alarm(what);
        },
        [&](const Pb<wire::Event>& event) {
          if (events.happened) events.happened(*event);
        },
        [&](done_atom) { is_done = true; },
        [&](fault_atom, const std::string& what) {
          is_done = true;
          error = what;
        },
        [&](const caf::error& what) {
          is_done = true;
          error = runtime::describe(what);
        });
  }
  if (!error.empty()) throw RunError(error);
}

}  // namespace troupe::actors
