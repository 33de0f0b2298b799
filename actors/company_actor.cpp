#include "actors/company_actor.h"

namespace troupe::actors {

caf::error error_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Killed&) {
    return caf::make_error(caf::exit_reason::kill);
  } catch (const std::exception& error) {
    return runtime::make_error(runtime::Errc::kernel_failed, error.what());
  }
}

}  // namespace troupe::actors
