#include "deploy/cluster/end_if_hung.h"

#include <fmt/format.h>

#include <csignal>
#include <functional>
#include <iostream>
#include <utility>

#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {

namespace {

/// Of a process that has yet to do its first step; it hangs after HangWatch::steps of them.
constexpr std::chrono::seconds cold_step{6};

void tell(actors::Company& company, const std::string& what, const char* what_follows) {
  wire::Event event;
  event.set_kind(wire::Event::HANDLER_HUNG);
  event.set_text(fmt::format("process {}: {}; {}", company.process, what, what_follows));
  event.set_unix_us(runtime::unix_us());
  company.happened(event);
  // Its console does not get to it any more.
  if (company.process == 0) std::cerr << "troupe: " << event.text() << std::endl;
}

std::unique_ptr<runtime::HangWatch> watch(actors::Company& company,
                                          std::function<void(const std::string&)> hangs) {
  return std::make_unique<runtime::HangWatch>(runtime::HangWatch::Args{
      .glass = *company.glass,
      .first_limit = std::chrono::duration<double>(company.deadlines.step).count(),
      .step =
          [&company] {
            return std::chrono::duration<double>(company.deadlines.times.typical_with_first_of(cold_step)).count();
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
