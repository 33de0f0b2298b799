#include "actors/launch.h"

#include <atomic>
#include <caf/io/all.hpp>
#include <caf/openssl/all.hpp>
#include <latch>
#include <mutex>
#include <optional>

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

SystemConfig::SystemConfig(const std::string& token, const runtime::TlsFiles& tls)
    : SystemConfig() {
  load<caf::io::middleman>();
  set("caf.middleman.app-identifiers", std::vector<std::string>{token});
  // Whether a process is there is for the sockets of the join to say: CAF's own check would cut off
  // one whose threads compute.
  set("caf.middleman.connection-timeout", caf::timespan(std::chrono::hours(24)));
  if (!tls.is_set()) return;
  load<caf::openssl::manager>();
  set("caf.openssl.certificate", tls.certificate);
  set("caf.openssl.key", tls.key);
  set("caf.openssl.cafile", tls.authority);
}

void SystemConfig::look_long(const Company& company) {
  const unsigned processes = static_cast<unsigned>(std::max(1, company.plan.processes));
  const bool has_cores = std::thread::hardware_concurrency() / processes >= 4;
  if (company.device != kernels::Device::cuda || !has_cores) return;
  set("caf.scheduler.policy", "stealing");
  set("caf.work-stealing.aggressive-poll-attempts", 500'000);
  set("caf.work-stealing.aggressive-steal-interval", 10);
  set("caf.work-stealing.moderate-poll-attempts", 1);
}

void register_message_types() {
  static std::once_flag once;
  std::call_once(once, [] {
    caf::init_global_meta_objects<caf::id_block::troupe_runtime>();
    caf::init_global_meta_objects<caf::id_block::troupe_supervision>();
    caf::init_global_meta_objects<caf::id_block::troupe_actors>();
    caf::io::middleman::init_global_meta_objects();
    caf::core::init_global_meta_objects();
  });
}

namespace {

/// A supervision tree that ends with whoever has it.
class Tree {
 public:
  /// `ended(why)` is called on any thread when the top gave up. Returns when everybody has been
  /// started, or there is no tree any more.
  Tree(std::shared_ptr<Company> company, Staff::Args args,
       std::function<void(const std::string&)> ended)
      : company_(std::move(company)), staff_(watched(std::move(args))) {
    top_ = staff_.start();
    runtime::on_end(top_, [this, ended = std::move(ended)](const caf::error&) {
      if (const std::string why = staff_.failure(); !why.empty()) ended(why);
      if (!is_decided_.exchange(true)) is_up_.count_down();
      has_ended_.count_down();
    });
    is_up_.wait();
  }

  /// After an error operations may still be under way. They refer to memory of their actors, which
  /// go with the directory, and of the arena, which goes after this: first actors end, then lanes.
  ~Tree() {
    runtime::stop_actor(top_, caf::exit_reason::user_shutdown);
    has_ended_.wait();
    company_->drain();
    company_->directory.clear();
    company_->witness.set(nullptr);
  }

  Staff& staff() { return staff_; }

 private:
  Staff::Args watched(Staff::Args args) {
    args.all_started = [this] {
      if (!is_decided_.exchange(true)) is_up_.count_down();
    };
    return args;
  }

  std::atomic<bool> is_decided_{false};  // whether all have been started
  std::latch is_up_{1};
  std::latch has_ended_{1};
  const std::shared_ptr<Company> company_;
  Staff staff_;
  caf::actor top_;
};

}  // namespace

struct Outpost::Top {
  std::unique_ptr<Tree> tree;
};

Outpost::Outpost(Args args) : company_(args.company), top_(std::make_unique<Top>()) {
  company_->witness.set([happened = std::move(args.happened)](wire::Event event) {
    if (happened) happened(event);
  });
  top_->tree = std::make_unique<Tree>(
      company_,
      Staff::Args{.company = company_, .system = args.actors, .crew_started = std::move(args.crew_started)},
      [gave_up = std::move(args.gave_up)](const std::string& why) {
        if (gave_up) gave_up(why);
      });
}

Outpost::~Outpost() = default;

struct Troupe::System {
  System(caf::actor_system* shared, const Company& company)
      : own(shared ? nullptr : std::make_unique<Own>(company)), actors(shared ? *shared : own->actors) {}

  struct Config : SystemConfig {
    explicit Config(const Company& company) { look_long(company); }
  };
  struct Own {
    explicit Own(const Company& company) : config(company), actors(config) {}
    Config config;
    caf::actor_system actors;
  };
  const std::unique_ptr<Own> own;
  caf::actor_system& actors;
  caf::scoped_actor watcher{actors};
  std::unique_ptr<runtime::EventLog> events;
  std::unique_ptr<Tree> tree;
  uint64_t journaled = 0;  // steps that were committed before this process
  std::optional<wire::StepRecord> handed_out;  // state that others are to get first
};

Troupe::Troupe(Args args) : company_(args.company) {
  system_ = std::make_unique<System>(args.actors, *company_);
  System& system = *system_;
  const auto watcher = caf::actor_cast<caf::actor>(system.watcher);
  const bool is_kept = args.storage != nullptr;
  system.journaled = args.from.commits.size();
  if (args.hands_out_state) system.handed_out = args.from.record;
  auto keepers = std::make_shared<Keepers>(is_kept ? std::move(args.storage->journal) : nullptr,
                                           args.from.commits.size(),
                                           is_kept ? std::move(args.storage->commits) : CommitPlace());
  keepers->watcher = watcher;
  if (args.from.open_commit) keepers->ledger.take_over(*args.from.open_commit);
  if (is_kept) {
    keepers->checkpoints = std::move(args.storage->checkpoints);
    system.events = std::move(args.storage->events);
  }
  company_->witness.set([log = system.events.get(), watcher](wire::Event event) {
    if (log) log->append(event);
    if (is_news(event.kind())) runtime::tell(watcher, Pb<wire::Event>(std::move(event)));
  });
  const bool has_documents = args.documents && !args.documents->empty();
  Staff::Args staff{
      .company = company_,
      .system = &system.actors,
      .coordinator = {.options = args.options,
                      .bias = std::move(args.bias),
                      .from = std::make_shared<const ResumePoint>(std::move(args.from)),
                      .watcher = watcher},
      .keepers = std::move(keepers),
      .has_checkpoints = is_kept,
      .documents = has_documents ? args.documents : nullptr};
  // Not urgently: a blocking actor of CAF 0.18.7 does not see an urgent message while it waits.
  system.tree = std::make_unique<Tree>(company_, std::move(staff), [watcher](const std::string& why) {
    runtime::tell(watcher, fault_atom_v, why);
  });
}

Troupe::~Troupe() { system_->tree.reset(); }

/// Everybody has the state before the first step.
void Troupe::hand_out_state() {
  caf::scoped_actor& self = system_->watcher;
  const auto deadline = company_->deadlines.around_states();
  std::vector<decltype(runtime::ask(self.ptr(), caf::actor(), deadline, scatter_atom_v,
                                    Pb<wire::StepRecord>()))> requests;
  const auto crews = company_->directory.of(Role::crew);
  for (const auto& [address, crew] : crews) {
    requests.push_back(runtime::ask(self.ptr(), crew, deadline, scatter_atom_v,
                                    Pb<wire::StepRecord>(*system_->handed_out)));
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].receive([] {}, [&, i](const caf::error& error) {
      throw RunError("the state did not get to " + to_string(crews[i].first) + ": " +
                     runtime::describe(error));
    });
  }
}

void Troupe::request_stop() {
  company_->is_stop_requested = true;
  if (const auto coordinator = company_->directory.find({Role::coordinator})) {
    runtime::tell(coordinator, stop_atom_v);
  }
}

void Troupe::request_pause() {
  company_->is_pause_requested = true;
  if (const auto coordinator = company_->directory.find({Role::coordinator})) {
    runtime::tell(coordinator, pause_atom_v);
  }
}

void Troupe::give_up(const std::string& why) {
  runtime::tell(caf::actor_cast<caf::actor>(system_->watcher), fault_atom_v, why);
}

void Troupe::run(const RunEvents& events) {
  caf::scoped_actor& self = system_->watcher;
  if (system_->handed_out) hand_out_state();
  system_->tree->staff().run();
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
