#include "deploy/cluster/end_if_hung.h"

#include <fmt/format.h>

#include <csignal>
#include <functional>
#include <iostream>
#include <utility>

#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {

namespace {

/// At least, of a process that has yet to do its first step: what it holds has to come to it first. It hangs after
/// HangWatch::steps of them.
std::chrono::milliseconds cold_step(const actors::Company& company) {
  return std::chrono::seconds(6) + std::chrono::milliseconds(company.arena.bytes() / 1'000'000);
}

void tell(actors::Company& company, const std::string& what, const char* what_follows) {
  wire::Event event;
  event.set_kind(wire::Event::HANDLER_HUNG);
  event.set_text(fmt::format("process {}: {}; {}", company.process, what, what_follows));
  event.set_unix_us(runtime::unix_us());
  company.happened(event);
  // Its console may not get to it any more. As one piece: if it does, its line is not written into this one.
  if (company.process == 0) std::cerr << "troupe: " + event.text() + "\n" << std::flush;
}

std::unique_ptr<runtime::HangWatch> watch(actors::Company& company,
                                          std::function<void(const std::string&)> hangs) {
  return std::make_unique<runtime::HangWatch>(runtime::HangWatch::Args{
      .glass = *company.glass,
      .first_limit = std::chrono::duration<double>(company.deadlines.step).count(),
      .step =
          [&company] {
            return std::chrono::duration<double>(company.deadlines.times.typical_or_cold(cold_step(company)))
                .count();
          },
      .hangs = std::move(hangs)});
}

}  // namespace

std::unique_ptr<runtime::HangWatch> end_if_hung(actors::Company& company) {
  return watch(company, [&company](const std::string& what) {
    tell(company, what, "the process ends itself");
    ::raise(SIGKILL);
  });
}

std::unique_ptr<runtime::HangWatch> tell_if_hung(actors::Company& company) {
  return watch(company, [&company](const std::string& what) {
    tell(company, what, "troupe ps shows what waits for it; a run of one process is not ended for it");
  });
}

}  // namespace troupe::deploy
