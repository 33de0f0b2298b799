#include "runtime/data_plane/progress_sleep.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "runtime/data_plane/data_plane.h"

namespace troupe::runtime {

Sleeper::Sleeper()
    : wake_file_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      poll_file_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (wake_file_ < 0 || poll_file_ < 0) {
    throw DataPlaneError(std::string("eventfd, epoll_create1: ") + std::strerror(errno));
  }
  watch(wake_file_);
}

void Sleeper::watch(int file) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = file;
  if (::epoll_ctl(poll_file_, EPOLL_CTL_ADD, file, &event) != 0) {
    throw DataPlaneError(std::string("epoll_ctl: ") + std::strerror(errno));
  }
}

Sleeper::~Sleeper() {
  ::close(poll_file_);
  ::close(wake_file_);
}

void Sleeper::wake() {
  if (!is_asleep_.exchange(false)) return;
  const uint64_t one = 1;
  (void)!::write(wake_file_, &one, sizeof one);
}

void Sleeper::sleep(std::optional<std::chrono::nanoseconds> longest) {
  pollfd any{poll_file_, POLLIN, 0};
  timespec time{};
  if (longest) time.tv_nsec = static_cast<long>(longest->count());
  (void)::ppoll(&any, 1, longest ? &time : nullptr, nullptr);
  is_asleep_.store(false);
  uint64_t count;
  (void)!::read(wake_file_, &count, sizeof count);
}

}  // namespace troupe::runtime
