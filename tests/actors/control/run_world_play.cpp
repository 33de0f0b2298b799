// What the world makes of the coordinator's wishes.
#include "tests/actors/control/run_world.h"

namespace troupe::tests {

using namespace actors;

struct World::Attempt {
  Generation generation;
  wire::BeginStep begin;
  wire::StepReport report;
  Reply reply;
  uint64_t epoch() const { return begin.epoch().n(); }
};

World::NotServed World::failure_of(Generation generation) {
  return [this, generation](NoAnswer kind) {
    hear(heard::Failed{generation, kind, "no answer"});
  };
}

void World::play(const wanted::Standing& wanted) {
  ask(coordinator, journal,
      [this, generation = wanted.generation](const Reply& reply) {
        reply([this, generation, appended = memory_.appended,
               is_saving = memory_.unwritten.has_value()] {
          hear(heard::Standing{generation, appended, is_saving});
        });
      },
      failure_of(wanted.generation));
}

void World::play(const wanted::Compute& wanted) {
  memory_.epochs = wanted.begin.epoch().n();
  ask(coordinator, trainer,
      [this, wanted](const Reply& reply) {
        attempt_ = std::make_shared<Attempt>(Attempt{wanted.generation, wanted.begin, {}, reply});
        lead(attempt_);
      },
      failure_of(wanted.generation));
}

/// Unit law: an older epoch is refused.
bool World::begins(size_t who, uint64_t epoch) {
  if (epoch < actors_[who].epoch) return false;
  actors_[who].epoch = epoch;
  ++actors_[who].begun;
  return true;
}

void World::ask_all(const std::shared_ptr<Attempt>& attempt, size_t first, size_t count,
                    const std::function<void(size_t, Reply)>& serve, const Deed& next) {
  auto missing = std::make_shared<size_t>(count);
  const auto failed = [this, attempt](NoAnswer kind) {
    if (attempt != attempt_) return;
    attempt_.reset();
    attempt->reply([this, attempt, kind] {
      hear(heard::Failed{attempt->generation, kind, "a part failed"});
    });
  };
  for (size_t who = first; who < first + count; ++who) {
    ask(trainer, who,
        [serve, who, failed, this, attempt, missing, next](const Reply& reply) {
          serve(who, [reply, this, attempt, missing, next, failed](const Deed& deed) {
            reply([deed, this, attempt, missing, next, failed] {
              if (!deed) return failed(NoAnswer::refused);
              deed();
              if (--*missing == 0 && attempt == attempt_) next();
            });
          });
        },
        failed);
  }
}

/// Workers empty their lanes, then gradients are cleared, then the units are done.
void World::lead(const std::shared_ptr<Attempt>& attempt) {
  const auto when_empty = [this, attempt](size_t who, const Reply& reply) {
    if (!begins(who, attempt->epoch())) return reply(Deed{});
    actors_[who].lane.push_back([reply] { reply([] {}); });
  };
  const auto cleared = [this, attempt](size_t who, const Reply& reply) {
    if (!begins(who, attempt->epoch())) return reply(Deed{});
    for (size_t b = who - first_shard; b < world_blocks; b += world_shards) {
      actors_[who].lane.push_back([this, b] { memory_.gradient[b] = 0; });
    }
    actors_[who].lane.push_back([reply] { reply([] {}); });
  };
  const auto played = [this, attempt](size_t who, const Reply& reply) {
    if (actors_[who].epoch != attempt->epoch()) return reply(Deed{});
    auto part = std::make_shared<wire::StepReport>();
    actors_[who].lane.push_back([this, attempt, part, who] {
      run_units(attempt->begin, *part, who - first_worker);
    });
    actors_[who].lane.push_back([reply, attempt, part] {
      reply([attempt, part] { attempt->report.MergeFrom(*part); });
    });
  };
  const Deed done = [this, attempt] {
    attempt->reply([this, attempt] {
      hear(heard::Collected{attempt->generation, attempt->report});
    });
  };
  ask_all(attempt, first_worker, world_workers, when_empty, [=, this] {
    ask_all(attempt, first_shard, world_shards, cleared, [=, this] {
      ask_all(attempt, first_worker, world_workers, played, done);
    });
  });
}

void World::play(const wanted::Prepare& wanted) {
  for (size_t who = first_shard; who < first_worker; ++who) {
    ask(coordinator, who,
        [this, who, wanted](const Reply& reply) {
          if (wanted.begin.epoch().n() < actors_[who].epoch) {
            return reply([this, wanted] { failure_of(wanted.generation)(NoAnswer::refused); });
          }
          actors_[who].lane.push_back([this, who, wanted, reply] {
            wire::Prepared part;
            for (size_t b = who - first_shard; b < world_blocks; b += world_shards) {
              part.add_blocks(b);
              part.add_squared_norms(static_cast<double>(memory_.gradient[b] % 65'521));
            }
            reply([this, wanted, part] { hear(heard::Prepared{wanted.generation, part}); });
          });
        },
        failure_of(wanted.generation));
  }
}

void World::play(const wanted::Append& wanted) {
  ask(coordinator, journal,
      [this, wanted](const Reply& reply) {
        const uint64_t step = wanted.record.step();
        if (!memory_.appended || memory_.appended->step() < step) {
          if (step > from_->commits.size()) {
            require(step == disk_.commits.size() + 1, "the journal has each step once, in order");
            disk_.commits.push_back(wanted.record);
          }
          memory_.appended = wanted.record;
        }
        // It may die with the record durable and nobody told.
        actors_[journal].lane.push_back([this, reply, wanted] {
          reply([this, wanted] { hear(heard::Durable{wanted.generation}); });
        });
      },
      failure_of(wanted.generation), false);
}

void World::play(const wanted::Apply& wanted) {
  for (size_t who = first_shard; who < first_worker; ++who) {
    ask(coordinator, who,
        [this, who, wanted](const Reply& reply) {
          const uint64_t life = actors_[who].life, begun = actors_[who].begun;
          actors_[who].lane.push_back([this, who, wanted, reply, life, begun] {
            if (actors_[who].life != life) return;
            if (actors_[who].begun != begun) {  // the promise broke with what was to be done
              return reply([this, wanted] { failure_of(wanted.generation)(NoAnswer::dead); });
            }
            auto& lane = actors_[who].lane;
            for (size_t b = who - first_shard; b < world_blocks; b += world_shards) {
              lane.push_back([this, b, record = wanted.record] { apply(b, record); });
            }
            lane.push_back([this, who, wanted, reply] {
              wire::Applied part;
              for (size_t b = who - first_shard; b < world_blocks; b += world_shards) {
                part.add_blocks(b);
                part.add_hashes(memory_.value[wanted.record.step() % 2][b]);
              }
              reply([this, wanted, part] { hear(heard::Applied{wanted.generation, part}); });
            });
          });
        },
        failure_of(wanted.generation));
  }
}

void World::play(const wanted::Announce& wanted) {
  const auto [at, is_new] =
      announced_.emplace(wanted.done.record().step(), wanted.done.hash());
  require(is_new || at->second == wanted.done.hash(), "a state has one hash, whoever tells it");
}

void World::play(const wanted::JournalHash& wanted) {
  ask(coordinator, journal,
      [this, wanted](const Reply& reply) {
        const auto [at, is_new] = disk_.hashes.emplace(wanted.step, wanted.hash);
        require(is_new || at->second == wanted.hash, "the journal has one hash of a state");
        reply([this, wanted] { hear(heard::HashDurable{wanted.step}); });
      },
      [](NoAnswer) {}, false);
}

void World::play(const wanted::Save& wanted) {
  ask(coordinator, checkpointer,
      [this, wanted](const Reply& reply) {
        Actor& actor = actors_[checkpointer];
        actor.is_busy = true;
        auto copy = std::make_shared<std::vector<uint64_t>>(world_blocks);
        for (size_t b = 0; b < world_blocks; ++b) {
          actor.lane.push_back([this, wanted, copy, b] {
            const uint64_t n = wanted.record.step();
            require(memory_.stamp[n % 2][b] == n, "a state is not written over while it is copied");
            (*copy)[b] = memory_.value[n % 2][b];
          });
        }
        actor.lane.push_back([this, wanted, copy, reply, life = actor.life] {
          if (actors_[checkpointer].life != life) return;
          actors_[checkpointer].is_busy = false;
          memory_.unwritten = std::pair(wanted.record, *copy);
          reply([this, wanted] { hear(heard::Copied{wanted.generation}); });
          tell(checkpointer, [this] { write_checkpoint(); });
        });
      },
      failure_of(wanted.generation));
}

void World::play(const wanted::Wait& wanted) {
  timers_.push_back([this, wanted, life = actors_[coordinator].life] {
    if (actors_[coordinator].life == life) hear(heard::TimePassed{wanted.generation});
  });
}

void World::play(const wanted::End& wanted) {
  require(wanted.code == runtime::Errc::ok, "the run goes on: " + wanted.text);
  is_done_ = true;
}

}  // namespace troupe::tests
