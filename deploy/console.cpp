#include "deploy/console.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "actors/control/commit.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

/// 4812 -> "4,812".
std::string grouped(int64_t n) {
  std::string text = std::to_string(n);
  for (auto i = static_cast<int64_t>(text.size()) - 3; i > 0; i -= 3) {
    text.insert(static_cast<size_t>(i), ",");
  }
  return text;
}

std::string mebibytes(double mib) {
  if (mib < 10) return fmt::format("{:.2f}MiB", mib);
  return mib < 1024 ? fmt::format("{:.0f}MiB", mib) : fmt::format("{:.1f}GiB", mib / 1024);
}

std::string memory_in_use() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return mebibytes(static_cast<double>(usage.ru_maxrss) / 1024);
}

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return s >= 60 ? fmt::format("{}m{:02}s", s / 60, s % 60) : fmt::format("{}s", s);
}

/// `evaluation`: of all held-out text, or of a source.
template <class Evaluation>
std::string evaluation_text(const Evaluation& evaluation) {
  std::string text = fmt::format("loss {:.4f}", mean_loss(evaluation.nats(), evaluation.tokens()));
  if (evaluation.has_ema_nats()) {
    text += fmt::format("  ema_loss {:.4f}", mean_loss(evaluation.ema_nats(), evaluation.tokens()));
  }
  return text + fmt::format("  bits_per_byte {:.4f}  tokens {}  bytes {}",
                            bits_per_byte(evaluation.nats(), evaluation.bytes()),
                            grouped(evaluation.tokens()), grouped(evaluation.bytes()));
}

}  // namespace

double bits_per_byte(double nats, int64_t bytes) {
  constexpr double ln2 = 0.69314718055994530942;
  return nats / ln2 / static_cast<double>(std::max<int64_t>(bytes, 1));
}

double mean_loss(double nats, int64_t tokens) {
  return nats / static_cast<double>(std::max<int64_t>(tokens, 1));
}

std::string Console::step_line(const wire::StepDone& done) const {
  const wire::StepRecord& record = done.record();
  const actors::StepNumbers numbers = options_.timeline.at(record.step());
  std::string line =
      fmt::format("step {}  loss {:.4f}  grad_norm {:.2f}  lr {:.1e}", record.step(), record.loss(),
                  record.gradient_norm(), record.learning_rate());
  if (options_.varies) {
    line += fmt::format("  tokens {}  seq_len {}  batch {}",
                        grouped(static_cast<int64_t>(record.consumed_tokens())),
                        numbers.sequence_rows, numbers.micro_batches * numbers.sequences);
  }
  if (done.seconds() > 0) {  // not known of a step that an earlier process made
    const double tps = static_cast<double>(numbers.tokens()) / done.seconds();
    line += fmt::format("  tps {}  mfu {:.1f}%", grouped(static_cast<int64_t>(tps)),
                        100 * tps * options_.flops_per_token(numbers.sequence_rows) /
                            options_.peak_flops);
  }
  line += fmt::format("  mem {}  maxvio {:.2f}", memory_in_use(),
                      actors::max_violation(std::vector<wire::Loads>(record.loads().begin(),
                                                                     record.loads().end())));
  if (done.has_wire()) {
    line += "  wire " + mebibytes(static_cast<double>(done.wire().wire_bytes()) / 0x1p20);
  }
  if (done.has_hash()) line += "  hash " + runtime::to_hex(done.hash());
  if (record.is_spike()) line += "  spike";
  if (!record.apply()) line += "  skipped";
  if (done.attempts() > 1) line += fmt::format("  attempts {}", done.attempts());
  return line;
}

/// A run does not end because its output cannot be written; its folder has everything.
void Console::write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0 && errno == EPIPE) is_reader_gone_ = true;
}

void Console::print(const std::string& line) {
  write((options_.is_terminal ? "\r\x1b[K" : "") + line + "\n");
}

void Console::step_done(const wire::StepDone& done) {
  const auto step = static_cast<int64_t>(done.record().step());
  seconds_ = step <= 1 || seconds_ == 0 ? done.seconds() : 0.9 * seconds_ + 0.1 * done.seconds();
  print(step_line(done));
  if (options_.is_terminal && step < options_.steps) {
    const auto left = options_.steps - step;
    write(fmt::format("{} of {} steps, {} left", step, options_.steps,
                      duration(seconds_ * static_cast<double>(left))));
  }
}

void Console::evaluated(const wire::Evaluation& evaluation) {
  const std::string state = fmt::format("held-out  state {}  ", evaluation.state());
  print(state + evaluation_text(evaluation));
  for (const wire::SourceEvaluation& source : evaluation.sources()) {
    print(state + evaluation_text(source) + "  source " + source.name());
  }
}

void Console::happened(const wire::Event& event) {
  switch (event.kind()) {
    case wire::Event::FAILPOINT:
      return print(fmt::format("failpoint {} fired in {}", event.text(), event.actor()));
    case wire::Event::ACTOR_RESTARTED:
      return print(fmt::format("restart {} life {}: {}", event.actor(), event.incarnation(),
                               event.text()));
    case wire::Event::EPOCH_BEGAN:
      return print(fmt::format("step {} goes on in epoch {}.{}: {}", event.step(),
                               event.epoch_term(), event.epoch_n(), event.text()));
    case wire::Event::HANDLER_HUNG: return print("hung: " + event.text());
    case wire::Event::STATE_DAMAGED: return print("damaged: " + event.text());
    case wire::Event::PROCESS_LOST: return print("lost: " + event.text());
    case wire::Event::PROCESS_JOINED: return print("joined: " + event.text());
    case wire::Event::PLAN_CHANGED: return print("plan changed: " + event.text());
    case wire::Event::STATE_LOST: return print("state lost: " + event.text());
    case wire::Event::LOSS_SPIKE:
    case wire::Event::SLOW_WORKER:
    case wire::Event::REBALANCED: return print(event.text());
    case wire::Event::ESCALATED:
      return print(fmt::format("supervisor {} gives up: {}", event.actor(), event.text()));
    case wire::Event::START_FAILED:
      return print(fmt::format("{} could not be started: {}", event.actor(), event.text()));
    default: return;
  }
}

void Console::finished(const wire::StepDone& last) {
  print(step_line(last));
}

}  // namespace troupe::deploy
