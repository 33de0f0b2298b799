// Random programs of faults and calls, played by the machine and by the model: every effect, its
// time and order, the children and the end must be equal. TROUPE_SUPERVISOR_PROGRAMS=100000 runs
// the long form.
#include <cstdlib>

#include <gtest/gtest.h>

#include "kernels/random.h"
#include "tests/runtime/supervision/supervisor_model.h"

namespace troupe::runtime::tests {
namespace {

/// Draws of one program; law 5: a function of its arguments.
class Dice {
 public:
  Dice(uint64_t program, uint32_t stream) : program_(program), stream_(stream) {}
  uint64_t below(uint64_t n) {
    return kernels::random_below({program_, kernels::Purpose::test, stream_, position_++}, n);
  }
  bool one_in(uint64_t n) { return below(n) == 0; }
  milliseconds wait(uint64_t longest) { return milliseconds(below(longest + 1)); }
  template <class T>
  T of(std::initializer_list<T> values) {
    return values.begin()[below(values.size())];
  }

 private:
  uint64_t program_;
  uint32_t stream_;
  uint64_t position_ = 0;
};

ExitReason random_reason(Dice& dice) {
  switch (dice.below(6)) {
    case 0: return ExitReason::normal();
    case 1: return ExitReason::shutdown();
    case 2: return ExitReason::shutdown("x");
    case 3: return ExitReason::killed();
    default: return ExitReason::failure("crash");
  }
}

Life random_life(uint64_t program, const effect::Start& wanted) {
  Dice dice(program, static_cast<uint32_t>(1000 + wanted.child));
  Life life;
  life.start = dice.one_in(5)    ? Life::Start::fail
               : dice.one_in(12) ? Life::Start::ignore
                                 : Life::Start::ok;
  if (dice.one_in(3)) life.start_takes = dice.wait(300);
  if (dice.one_in(2)) life.lasts = dice.one_in(4) ? milliseconds(0) : dice.wait(6000);
  life.ends_by = random_reason(dice);
  if (dice.one_in(3)) life.shutdown_takes = dice.wait(1500);
  if (dice.one_in(8)) life.shutdown_takes.reset();
  if (dice.one_in(4)) life.shutdown_by = random_reason(dice);
  return life;
}

ChildSpec random_spec(Dice& dice, const std::string& id, AutoShutdown auto_shutdown) {
  ChildSpec spec{.id = id, .start = "s"};
  spec.restart = dice.of({Restart::permanent, Restart::permanent, Restart::transient,
                          Restart::transient, Restart::temporary});
  if (dice.one_in(2)) {
    spec.shutdown = dice.of({Shutdown::brutal_kill(), Shutdown::after(dice.wait(1000)),
                             Shutdown::after(dice.wait(1000)), Shutdown::infinity()});
  }
  if (dice.one_in(4)) spec.type = ChildType::supervisor;
  spec.significant = auto_shutdown != AutoShutdown::never && spec.restart != Restart::permanent &&
                     dice.one_in(2);
  return spec;
}

struct Program {
  SupervisorFlags flags;
  std::vector<ChildSpec> specs;
  std::vector<std::pair<Instant, Event>> events;
};

std::string random_id(Dice& dice) { return "c" + std::to_string(dice.below(5)); }

Call random_call(Dice& dice, const SupervisorFlags& flags) {
  const bool simple = flags.strategy == Strategy::simple_one_for_one;
  if (simple && dice.one_in(2)) return call::StartDynamic{"a" + std::to_string(dice.below(9))};
  if (simple && dice.one_in(3)) return call::TerminateDynamic{1 + dice.below(12)};
  switch (dice.below(10)) {
    case 0:
    case 1: return call::StartChild{random_spec(dice, random_id(dice), flags.auto_shutdown)};
    case 2:
    case 3: return call::TerminateChild{random_id(dice)};
    case 4:
    case 5: return call::RestartChild{random_id(dice)};
    case 6: return call::DeleteChild{random_id(dice)};
    case 7: return call::GetSpec{random_id(dice)};
    case 8: return call::WhichChildren{};
    default: break;
  }
  if (dice.one_in(2)) return call::CountChildren{};
  call::ChangeSpecs change;
  if (simple) return call::ChangeSpecs{{random_spec(dice, "c0", flags.auto_shutdown)}};
  for (const char* id : {"c3", "c1", "c0", "c4"}) {
    if (dice.one_in(2)) change.specs.push_back(random_spec(dice, id, flags.auto_shutdown));
  }
  return change;
}

Program random_program(uint64_t number) {
  Dice dice(number, 0);
  Program program;
  SupervisorFlags& flags = program.flags;
  flags.strategy = dice.of({Strategy::one_for_one, Strategy::one_for_all, Strategy::rest_for_one,
                            Strategy::simple_one_for_one});
  flags.intensity = static_cast<int>(dice.below(8));
  flags.period = seconds(1 + dice.below(6));
  flags.auto_shutdown = dice.of({AutoShutdown::never, AutoShutdown::never,
                                 AutoShutdown::any_significant, AutoShutdown::all_significant});
  if (dice.one_in(4)) {
    const milliseconds min = milliseconds(1) + dice.wait(500);
    flags.backoff = BackoffBounds{min, min + dice.wait(2000)};
  }
  const bool simple = flags.strategy == Strategy::simple_one_for_one;
  const uint64_t children = simple ? 1 : dice.below(5);
  for (uint64_t i = 0; i < children; ++i) {
    program.specs.push_back(random_spec(dice, "c" + std::to_string(i), flags.auto_shutdown));
  }
  program.events.emplace_back(Instant{0}, event::Begin{});
  const uint64_t calls = dice.below(14);
  for (RequestId request = 1; request <= calls; ++request) {
    program.events.emplace_back(dice.wait(8000),
                                event::Called{request, random_call(dice, flags)});
  }
  if (!dice.one_in(4)) {
    program.events.emplace_back(dice.wait(12'000), event::Stop{random_reason(dice)});
  }
  return program;
}

constexpr Instant horizon = seconds(20);

World world_of(uint64_t number, const Program& program) {
  World world([number](const effect::Start& wanted) { return random_life(number, wanted); });
  for (const auto& [when, event] : program.events) world.at(when, event);
  return world;
}

std::string describe(const Trace& trace, size_t at) {
  if (at >= trace.size()) return "nothing";
  const auto& [when, effect] = trace[at];
  std::string out = std::to_string(when.count() / 1'000'000) + " ms, effect of kind " +
                    std::to_string(effect.index());
  if (const auto* log = std::get_if<effect::Log>(&effect)) {
    out += ", log " + std::to_string(static_cast<int>(log->kind)) + " of " + log->id + " " +
           log->text;
  }
  return out;
}

/// What was seen over all programs: a run that never ends or restarts anything proves nothing.
struct Seen {
  std::array<size_t, 8> logs{};
  size_t ends = 0, replies = 0, idle = 0;
};

void compare(uint64_t number, Seen& seen) {
  const Program program = random_program(number);
  World world = world_of(number, program);
  SupervisorCore core(program.flags, program.specs);
  Trace trace;
  while (auto event = world.next(horizon)) {
    for (Effect& effect : core.handle(world.now(), std::move(*event))) {
      world.play(effect);
      if (const auto* log = std::get_if<effect::Log>(&effect)) {
        ++seen.logs.at(static_cast<size_t>(log->kind));
      }
      seen.ends += std::holds_alternative<effect::End>(effect);
      seen.replies += std::holds_alternative<effect::Reply>(effect);
      trace.emplace_back(world.now(), std::move(effect));
    }
  }
  World other = world_of(number, program);
  SupervisorModel model(program.flags, program.specs, other, horizon);
  const bool is_idle = model.run();
  seen.idle += is_idle;

  for (size_t i = 0; i < std::max(trace.size(), model.trace().size()); ++i) {
    if (i < trace.size() && i < model.trace().size() && trace[i] == model.trace()[i]) continue;
    FAIL() << "program " << number << ", effect " << i << ": " << describe(trace, i)
           << "; the model has " << describe(model.trace(), i);
  }
  ASSERT_EQ(world.living(), other.living()) << "program " << number;
  ASSERT_EQ(core.has_ended(), model.ended()) << "program " << number;
  if (is_idle) {
    ASSERT_EQ(core.which_children(), model.children()) << "program " << number;
  }
  if (core.has_ended()) {
    ASSERT_EQ(world.living(), 0u) << "program " << number << ": an orphan";
  }
}

TEST(SupervisorCore, DoesWhatTheModelDoesInRandomPrograms) {
  const char* wanted = std::getenv("TROUPE_SUPERVISOR_PROGRAMS");
  const uint64_t programs = wanted ? std::strtoull(wanted, nullptr, 10) : 2000;
  Seen seen;

  for (uint64_t number = 0; number < programs && !HasFatalFailure(); ++number) {
    compare(number, seen);
  }

  for (const size_t count : seen.logs) EXPECT_GT(count, programs / 100);
  EXPECT_GT(seen.ends, programs / 2);
  EXPECT_GT(seen.replies, programs);
  EXPECT_GT(seen.idle, programs / 2);
  RecordProperty("programs", static_cast<int>(programs));
}

}  // namespace
}  // namespace troupe::runtime::tests
