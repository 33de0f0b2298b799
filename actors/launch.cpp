#include "actors/launch.h"

#include <latch>
#include <mutex>

#include "actors/model/attention_shard.h"
#include "actors/model/expert_shard.h"
#include "actors/model/router.h"
#include "actors/model/stage.h"
#include "actors/train/optimizer_shard.h"
#include "actors/train/trainer.h"

namespace troupe::actors {
namespace {

/// CAF's own threads never compute, they only carry messages: a shared queue that wakes a thread
/// at once, and turns between actors after so many messages.
struct SystemConfig : caf::actor_system_config {
  SystemConfig() {
    set("caf.scheduler.policy", "sharing");
    set("caf.scheduler.max-threads", 2);
    set("caf.scheduler.max-throughput", 100);
    set("caf.logger.file.verbosity", "quiet");
    set("caf.logger.console.verbosity", "quiet");
  }
};

}  // namespace

void register_message_types() {
  static std::once_flag once;
  std::call_once(once, [] {
    caf::init_global_meta_objects<caf::id_block::troupe_runtime>();
    caf::init_global_meta_objects<caf::id_block::troupe_actors>();
    caf::core::init_global_meta_objects();
  });
}

struct Troupe::System {
  SystemConfig config;
  caf::actor_system actors{config};
  caf::scoped_actor watcher{actors};
};

namespace {

/// Spawns one actor, enters it in the directory, and tells the watcher should it end by itself.
template <class Actor, class... Ts>
void hire(caf::actor_system& system, const caf::actor& watcher, Company& company,
          const Address& address, Ts&&... arguments) {
  auto actor = caf::actor_cast<caf::actor>(system.spawn<Actor>(std::forward<Ts>(arguments)...));
  runtime::on_end(actor, [watcher, address](const caf::error& reason) {
    if (!reason || reason == caf::exit_reason::user_shutdown) return;
    // Not urgently: a blocking actor of CAF 0.18.7 does not see an urgent message while it waits.
    runtime::tell(watcher, fault_atom_v, to_string(address) + ": " + runtime::describe(reason));
  });
  company.directory.put(address, std::move(actor));
}

}  // namespace

Troupe::Troupe(Args args) : company_(args.company) {
  register_message_types();
  system_ = std::make_unique<System>();
  const auto watcher = caf::actor_cast<caf::actor>(system_->watcher);
  const config::Plan& plan = company_->plan;
  const auto add = [&]<class Actor>(std::type_identity<Actor>, const Address& address,
                                    auto&&... arguments) {
    hire<Actor>(system_->actors, watcher, *company_, address, company_,
                std::forward<decltype(arguments)>(arguments)...);
  };
  for (int stage = 0; stage < plan.pipeline; ++stage) {
    for (int shard = 0; shard < plan.expert; ++shard) {
      const Address address{Role::expert_shard, stage, 0, shard};
      add(std::type_identity<ExpertShardActor>{}, address, address);
    }
    for (int worker = 0; worker < plan.data; ++worker) {
      for (int shard = 0; shard < plan.attention; ++shard) {
        const Address address{Role::attention_shard, stage, worker, shard};
        add(std::type_identity<AttentionShardActor>{}, address, address);
      }
      for (const int64_t layer : company_->moe_layers(stage)) {
        const Address address{Role::router, stage, worker, static_cast<int>(layer)};
        add(std::type_identity<RouterActor>{}, address, address);
      }
      const Address address{Role::stage, stage, worker};
      add(std::type_identity<StageActor>{}, address, address);
    }
  }
  for (int shard = 0; shard < plan.optimizer_shards; ++shard) {
    const Address address{Role::optimizer_shard, 0, 0, shard};
    add(std::type_identity<OptimizerShardActor>{}, address, address);
  }
  add(std::type_identity<TrainerActor>{}, {Role::trainer});
  if (args.evaluator) {
    company_->directory.put({Role::evaluator}, args.evaluator(system_->actors, company_));
  }
  if (args.storage) keep(std::move(*args.storage));
  add(std::type_identity<CoordinatorActor>{}, {Role::coordinator}, args.options, args.bias,
      std::move(args.from));
}

/// Both wait for the disk: threads of their own.
void Troupe::keep(RunStorage storage) {
  const auto watcher = caf::actor_cast<caf::actor>(system_->watcher);
  caf::actor_system& system = system_->actors;
  company_->directory.put({Role::journal},
                          caf::actor_cast<caf::actor>(system.spawn<JournalActor, caf::detached>(
                              std::move(storage.journal), watcher)));
  company_->directory.put(
      {Role::checkpointer},
      caf::actor_cast<caf::actor>(system.spawn<CheckpointerActor, caf::detached>(
          company_, std::move(storage.checkpoints), watcher)));
}

/// After an error operations may still be under way. They refer to memory of their actors, which go
/// with the directory, and of the arena, which goes after this: first actors end, then lanes.
Troupe::~Troupe() {
  const auto actors = company_->directory.all();
  auto living = std::make_shared<std::latch>(static_cast<std::ptrdiff_t>(actors.size()));
  for (const auto& [address, actor] : actors) {
    runtime::on_end(actor, [living](const caf::error&) { living->count_down(); });
    runtime::stop_actor(actor, caf::exit_reason::user_shutdown);
  }
  living->wait();
  company_->drain();
  company_->directory.clear();
}

void Troupe::request_stop() {
  runtime::tell(company_->directory.find({Role::coordinator}), stop_atom_v);
}

void Troupe::run(const RunEvents& events) {
  caf::scoped_actor& self = system_->watcher;
  runtime::tell(company_->directory.find({Role::coordinator}), run_atom_v,
                caf::actor_cast<caf::actor>(self));
  bool is_done = false, is_named = false;
  std::string error;
  while (!is_done) {
    self->receive(
        [&](const Pb<wire::StepDone>& done) {
          if (events.step_done) events.step_done(*done);
        },
        [&](const Pb<wire::Evaluation>& evaluation) {
          if (events.evaluated) events.evaluated(*evaluation);
        },
        [&](alarm_atom, const std::string& what) {
          if (events.alarm) events.alarm(what);
        },
        [&](done_atom) { is_done = true; },
        [&](fault_atom, const std::string& what) {
          is_done = is_named = true;
          error = what;
        },
        [&](const caf::error& what) {
          is_done = true;
          is_named = runtime::is_own(what);
          error = runtime::describe(what);
        });
  }
  if (error.empty()) return;
  // An actor that died breaks its promises: who waits for them may be heard before its own word.
  if (!is_named) {
    self->receive([&](fault_atom, const std::string& what) { error = what; },
                  caf::after(std::chrono::seconds(1)) >> [] {});
  }
  throw RunError(error);
}

}  // namespace troupe::actors
