#include "actors/messages/fan_out.h"

namespace troupe::actors {

caf::error fan_out_error(const Address& whom, const caf::error& error,
                         std::chrono::milliseconds deadline) {
  if (error != caf::sec::request_timeout) return error;
  return runtime::make_error(runtime::Errc::late,
                             to_string(whom) + " has not answered within " +
                                 std::to_string(deadline.count()) +
                                 " ms (cluster.step_deadline at most, else by measured steps)");
}

}  // namespace troupe::actors
