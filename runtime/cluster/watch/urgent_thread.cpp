#include "runtime/cluster/watch/urgent_thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

namespace troupe::runtime {

std::string make_urgent() {
  sched_param priority{};
  priority.sched_priority = 1;
  if (::sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &priority) == 0) return "SCHED_RR 1";
  constexpr int nice = -15;
  const auto thread = static_cast<id_t>(::gettid());
  if (::setpriority(PRIO_PROCESS, thread, nice) == 0) return "nice " + std::to_string(nice);
  return "as others";
}

}  // namespace troupe::runtime
