#include "deploy/chaos/own_mounts.h"

#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>

namespace troupe::deploy {

std::string get_own_mounts() {
  static const bool is_own = ::unshare(CLONE_NEWNS) == 0 &&
                             ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  static const int error = errno;
  return is_own ? "" : std::string(std::strerror(error)) + " (wants CAP_SYS_ADMIN)";
}

}  // namespace troupe::deploy
