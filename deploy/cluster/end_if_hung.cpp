#include "deploy/cluster/end_if_hung.h"

#include <fmt/format.h>

#include <csignal>
#include <iostream>

#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {

std::unique_ptr<runtime::HangWatch> end_if_hung(actors::Company& company) {
  return std::make_unique<runtime::HangWatch>(runtime::HangWatch::Args{
      .glass = *company.glass,
      .first_limit = std::chrono::duration<double>(company.deadlines.step).count(),
      .step =
          [&company] {
            return std::chrono::duration<double>(company.deadlines.times.typical()).count();
          },
      .hangs = [&company](const std::string& what) {
        wire::Event event;
        event.set_kind(wire::Event::HANDLER_HUNG);
        event.set_text(fmt::format("process {}: {}; the process ends itself", company.process, what));
        event.set_unix_us(runtime::unix_us());
        company.happened(event);
        // Its console does not get to it any more.
        if (company.process == 0) std::cerr << "troupe: " << event.text() << std::endl;
        ::raise(SIGKILL);
      }});
}

}  // namespace troupe::deploy
