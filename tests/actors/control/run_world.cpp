#include "tests/actors/control/run_world.h"

namespace troupe::tests {

using namespace actors;

void World::begin_process() {
  actors_.assign(everybody, {});
  timers_.clear();
  memory_ = Memory{};
  ++disk_.term;
  auto from = std::make_shared<ResumePoint>();
  from->term = disk_.term;
  from->commits = disk_.commits;
  from->hashes = disk_.hashes;
  bias_.values.assign(
      static_cast<size_t>(recipe_.moe_layers() * recipe_.shape.experts), 0.0f);
  for (size_t b = 0; b < world_blocks; ++b) memory_.value[0][b] = mix(7, b);
  if (!disk_.checkpoints.empty()) {
    const auto& [record, blocks] = disk_.checkpoints.rbegin()->second;
    from->record = record;
    bias_ = {{record.bias().begin(), record.bias().end()}, record.step()};
    for (size_t b = 0; b < world_blocks; ++b) {
      memory_.value[record.step() % 2][b] = blocks[b];
      memory_.stamp[record.step() % 2][b] = record.step();
    }
  }
  from_ = from;
  core_.reset();
  kill(coordinator);  // its first life begins as every later one does
}

void World::play() {
  begin_process();
  for (int moves = 0; !is_done_; ++moves) {
    require(moves < 200'000, "the run comes to an end");
    if (!strike()) require(move(), "somebody can always act");
  }
  for (size_t b = 0; b < world_blocks; ++b) {
    final_.push_back(memory_.value[static_cast<size_t>(recipe_.steps) % 2][b]);
  }
}

/// Lets one of those who can act do so.
bool World::move() {
  std::vector<size_t> readers;  // and, counted on, lanes
  for (size_t who = 0; who < everybody; ++who) {
    if (!actors_[who].mailbox.empty() && !actors_[who].is_busy) readers.push_back(who);
    if (!actors_[who].lane.empty()) readers.push_back(everybody + who);
  }
  const size_t choices = readers.size() + (timers_.empty() ? 0 : 1);
  if (choices == 0) return false;
  const size_t chosen = draw(choices);
  Deed act;
  if (chosen == readers.size()) {
    act = std::move(timers_.front());
    timers_.pop_front();
  } else if (readers[chosen] >= everybody) {
    auto& lane = actors_[readers[chosen] - everybody].lane;
    act = std::move(lane.front());
    lane.pop_front();
  } else {
    auto& mailbox = actors_[readers[chosen]].mailbox;
    act = std::move(mailbox.front().read);
    mailbox.pop_front();
  }
  act();
  return true;
}

bool World::strike() {
  if (failures_ >= storm_.most) return false;
  const auto percent = static_cast<int>(draw(100));
  if (percent < storm_.process_deaths) {
    ++failures_;
    begin_process();
    return true;
  }
  if (percent < storm_.process_deaths + storm_.kills) {
    ++failures_;
    kill(draw(everybody));
    return true;
  }
  return false;
}

/// The dead one's mailbox bounces, its promises break, its lane goes on; then its supervisor starts
/// it again and the coordinator is told.
void World::kill(size_t who) {
  Actor& actor = actors_[who];
  ++actor.life;
  actor.epoch = 0;
  actor.is_busy = false;
  for (const Letter& letter : std::exchange(actor.mailbox, {})) {
    if (letter.bounce) letter.bounce();
  }
  for (const auto& owed : std::exchange(actor.owed, {})) owed();
  if (who == coordinator) {
    core_.emplace(RunCore::Args{
        .recipe = &recipe_,
        .options = {.hash_every = 1, .eval_every = 0, .checkpoint_every = 2},
        .bias = bias_,
        .from = from_,
        .epochs = memory_.epochs,
        .crews = world_shards,
        .blocks = world_blocks,
        .has_checkpointer = true,
        .has_evaluator = false,
        .state_hash = [](const wire::StepRecord& record, std::span<const uint64_t> hashes) {
          uint64_t hash = record.consumed_tokens();
          for (const uint64_t each : hashes) hash = mix(hash, each);
          return hash;
        }});
    return tell(coordinator, [this] { hear(heard::Run{}); });
  }
  constexpr Role roles_of[] = {Role::coordinator, Role::trainer, Role::journal, Role::checkpointer};
  const Role role = who < first_shard    ? roles_of[who]
                    : who < first_worker ? Role::optimizer_shard
                                         : Role::stage;
  if (who == checkpointer && memory_.unwritten) tell(checkpointer, [this] { write_checkpoint(); });
  tell(coordinator, [this, role] { hear(heard::Restarted{role, "killed"}); });
}

void World::tell(size_t to, Deed read, Deed bounce) {
  actors_[to].mailbox.push_back({std::move(read), std::move(bounce)});
}

/// Ends once: in an answer, or because the asked one died, or because it seems late. What comes
/// later, or for a life of the asker that is over, is dropped.
void World::ask(size_t from, size_t to, Serve serve, NotServed failed, bool has_deadline) {
  const auto end = [this, from, life = actors_[from].life,
                    is_open = std::make_shared<bool>(true)](const Deed& deed) {
    if (!std::exchange(*is_open, false)) return;
    tell(from, [this, from, life, deed] {
      if (actors_[from].life == life) deed();
    });
  };
  if (has_deadline && static_cast<int>(draw(100)) < storm_.lates && failures_ < storm_.most) {
    ++failures_;
    timers_.push_back([end, failed] { end([failed] { failed(NoAnswer::late); }); });
  }
  const Deed broken = [end, failed] { end([failed] { failed(NoAnswer::dead); }); };
  tell(
      to,
      [this, to, serve, end, broken] {
        actors_[to].owed.push_back(broken);
        serve([this, to, life = actors_[to].life, end](const Deed& deed) {
          if (actors_[to].life == life) end(deed);  // promises go with their life
        });
      },
      broken);
}

/// The coordinator may die between two of the things that it wants.
void World::hear(const Heard& heard) {
  const uint64_t life = actors_[coordinator].life;
  for (const Wanted& wanted : core_->hear(heard)) {
    if (static_cast<int>(draw(400)) < storm_.kills && failures_ < storm_.most) {
      ++failures_;
      return kill(coordinator);
    }
    std::visit([this](const auto& each) { play(each); }, wanted);
    if (actors_[coordinator].life != life || is_done_) return;
  }
}

void World::apply(size_t block, const wire::StepRecord& record) {
  const uint64_t n = record.step();
  require(n <= disk_.commits.size(), "nobody acts on a commit before it is durable");
  uint64_t& stamp = memory_.stamp[n % 2][block];
  if (stamp == n) return;
  require(memory_.stamp[(n - 1) % 2][block] == n - 1, "an apply begins at the state before");
  memory_.value[n % 2][block] =
      mix(mix(memory_.value[(n - 1) % 2][block], memory_.gradient[block]),
          static_cast<uint64_t>(record.gradient_norm() * 1e6));
  stamp = n;
}

/// Steps may be committed while it is at it.
void World::write_checkpoint() {
  if (!memory_.unwritten) return;
  Actor& actor = actors_[checkpointer];
  actor.is_busy = true;
  for (int i = 0; i < storm_.write_deeds; ++i) actor.lane.push_back([] {});
  actor.lane.push_back([this, life = actor.life] {
    if (actors_[checkpointer].life != life) return;
    actors_[checkpointer].is_busy = false;
    const uint64_t step = memory_.unwritten->first.step();
    disk_.checkpoints[step] = *memory_.unwritten;
    memory_.unwritten.reset();
    tell(coordinator, [this, step] { hear(heard::Saved{step}); });
  });
}

/// The units of one worker: its micro-batch.
void World::run_units(const wire::BeginStep& begin, wire::StepReport& report, size_t worker) {
  const uint64_t n = begin.step();
  uint64_t state = mix(n, worker);
  for (size_t b = 0; b < world_blocks; ++b) {
    state = mix(state, memory_.value[(n - 1) % 2][b]);
  }
  for (size_t b = 0; b < world_blocks; ++b) memory_.gradient[b] += mix(state, b) % 1'000'003;
  wire::UnitLosses& losses = *report.add_losses();
  losses.set_micro_batch(static_cast<uint32_t>(worker));
  losses.set_main(static_cast<int64_t>(state % 4096));
  wire::UnitRouting& routing = *report.add_routing();
  routing.set_layer(static_cast<int32_t>(recipe_.shape.dense_layers));
  for (int64_t e = 0; e < recipe_.shape.experts; ++e) {
    routing.add_rows(static_cast<int64_t>(mix(state, static_cast<uint64_t>(e)) % 9));
  }
}

}  // namespace troupe::tests
