// A world around the coordinator's core without threads: actors with mailboxes, lanes, an arena, a
// journal and checkpoints, all as plain data. A schedule drawn from a seed decides who acts next;
// any of them may die at any point, and so may the process.
//
// The arithmetic is a stand-in with the real one's dependencies: a unit's gradient is a function of
// state N - 1, step and micro-batch; a block's state N of its state N - 1, gradient N and the record.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "actors/control/run_core.h"
#include "kernels/random.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {

constexpr size_t world_blocks = 4;
constexpr size_t world_shards = 2;
constexpr size_t world_workers = 2;

inline uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15 + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccd;
  return x ^ (x >> 33);
}

/// What dies with the process.
struct Memory {
  uint64_t value[2][world_blocks] = {};  // state N stands at N mod 2
  uint64_t stamp[2][world_blocks] = {};
  uint64_t gradient[world_blocks] = {};
  std::optional<wire::StepRecord> appended;
  std::optional<std::pair<wire::StepRecord, std::vector<uint64_t>>> unwritten;  // a checkpoint's
  uint64_t epochs = 0;
};

/// What does not.
struct Disk {
  std::vector<wire::StepRecord> commits;
  std::map<uint64_t, uint64_t> hashes;
  std::map<uint64_t, std::pair<wire::StepRecord, std::vector<uint64_t>>> checkpoints;
  uint64_t term = 0;
};

/// What the schedule may break, in percent of its moves.
struct Storm {
  int kills = 0;           ///< of one actor, between two of its deeds or in one
  int lates = 0;           ///< a deadline passes although the answer is on its way
  int process_deaths = 0;  ///< of everything in memory
  int most = 15;           ///< failures in all: then it is quiet
  int write_deeds = 0;     ///< what writing a checkpoint takes, beside one
};

class World {
 public:
  World(uint64_t seed, Storm storm, int64_t steps) : seed_(seed), storm_(storm) {
    recipe_ = small_recipe();
    recipe_.steps = steps;
    recipe_.micro_batches = world_workers;
    recipe_.scale_bits = 20;
    recipe_.spike.emplace();  // the trend in the records must survive whatever happens
    recipe_.spike->set_window(2);
    recipe_.spike->set_threshold(0.5);
  }

  /// Plays to the end. Throws std::logic_error if a law is broken or nothing moves any more.
  void play();

  const Disk& disk() const { return disk_; }
  const std::vector<uint64_t>& final_blocks() const { return final_; }
  const std::map<uint64_t, uint64_t>& announced() const { return announced_; }
  int failures() const { return failures_; }

 private:
  enum Who : size_t { coordinator, trainer, journal, checkpointer, first_shard,
                      first_worker = first_shard + world_shards,
                      everybody = first_worker + world_workers };
  using Deed = std::function<void()>;
  struct Letter {
    Deed read;
    Deed bounce;  // the receiver is dead
  };
  struct Actor {
    uint64_t life = 1;
    uint64_t epoch = 0;
    uint64_t begun = 0;    // epochs: a begin drops what was to be done when the lane is empty
    bool is_busy = false;  // its handler waits for its lane
    std::deque<Letter> mailbox;
    std::deque<Deed> lane;   // outlives the life
    std::vector<Deed> owed;  // breaks the promises of this life
  };
  /// Posts an answer to whoever asked.
  using Reply = std::function<void(Deed)>;
  using Serve = std::function<void(Reply)>;
  using NotServed = std::function<void(actors::NoAnswer)>;
  struct Attempt;  // the trainer's

  uint64_t draw(uint64_t n) {
    return kernels::random_below({seed_, kernels::Purpose::test, 77, draws_++}, n);
  }
  void begin_process();
  bool move();
  bool strike();
  void kill(size_t who);
  void tell(size_t to, Deed read, Deed bounce = {});
  void ask(size_t from, size_t to, Serve serve, NotServed failed, bool has_deadline = true);
  void hear(const actors::Heard& heard);
  NotServed failure_of(actors::Generation generation);
  void play(const actors::wanted::Standing& wanted);
  void play(const actors::wanted::Compute& wanted);
  void play(const actors::wanted::Prepare& wanted);
  void play(const actors::wanted::Append& wanted);
  void play(const actors::wanted::Apply& wanted);
  void play(const actors::wanted::Announce& wanted);
  void play(const actors::wanted::JournalHash& wanted);
  void play(const actors::wanted::Save& wanted);
  void play(const actors::wanted::Evaluate&) {}
  void play(const actors::wanted::Report&) {}
  void play(const actors::wanted::Wait& wanted);
  void play(const actors::wanted::Note&) {}
  void play(const actors::wanted::End& wanted);
  void lead(const std::shared_ptr<Attempt>& attempt);
  void ask_all(const std::shared_ptr<Attempt>& attempt, size_t first, size_t count,
               const std::function<void(size_t, Reply)>& serve, const Deed& next);
  bool begins(size_t who, uint64_t epoch);
  void run_units(const wire::BeginStep& begin, wire::StepReport& report, size_t worker);
  void apply(size_t block, const wire::StepRecord& record);
  void write_checkpoint();
  static void require(bool holds, const std::string& law) {
    if (!holds) throw std::logic_error(law);
  }

  const uint64_t seed_;
  const Storm storm_;
  actors::Recipe recipe_;
  uint64_t draws_ = 0;
  int failures_ = 0;
  bool is_done_ = false;
  Disk disk_;
  Memory memory_;
  std::vector<Actor> actors_;
  std::optional<actors::RunCore> core_;
  std::shared_ptr<const actors::ResumePoint> from_;
  actors::RoutingBias bias_;
  std::deque<Deed> timers_;
  std::map<uint64_t, uint64_t> announced_;
  std::vector<uint64_t> final_;
  std::shared_ptr<Attempt> attempt_;  // the trainer's newest
};

}  // namespace troupe::tests
