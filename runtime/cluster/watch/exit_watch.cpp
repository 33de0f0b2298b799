#include "runtime/cluster/watch/exit_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>
#include <vector>

#include "runtime/cluster/watch/urgent_thread.h"

namespace troupe::runtime {
namespace {

/// All at once cannot be waited for (no memory, or too few files are allowed): each is looked at. Ends are
/// noticed a little later, and not never.
void poll_each(std::vector<pollfd>& files) {
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  for (pollfd& file : files) {
    file.revents = 0;
    ::poll(&file, 1, 0);
  }
}

}  // namespace

ExitWatch::ExitWatch(Ended ended)
    : ended_(std::move(ended)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_ < 0) throw ClusterError("cannot make an event descriptor");
  thread_ = std::thread([this] {
    make_urgent();
    loop();
  });
}

ExitWatch::~ExitWatch() {
  {
    std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  wake();
  thread_.join();
  ::close(wake_);
}

void ExitWatch::wake() {
  const uint64_t one = 1;
  static_cast<void>(!::write(wake_, &one, sizeof one));
}

void ExitWatch::watch(int process, uint32_t life, std::shared_ptr<const ProcessHandle> handle) {
  {
    std::lock_guard lock(mutex_);
    watched_[process] = {life, std::move(handle)};
  }
  wake();
}

void ExitWatch::forget(int process) {
  std::lock_guard lock(mutex_);
  watched_.erase(process);
}

void ExitWatch::loop() {
  while (true) {
    std::vector<pollfd> files{{wake_, POLLIN, 0}};
    std::vector<std::pair<int, Watched>> watched{{0, {0, nullptr}}};
    {
      std::lock_guard lock(mutex_);
      if (is_over_) return;
      for (const auto& [process, one] : watched_) {
        files.push_back({one.handle->file(), POLLIN, 0});
        watched.emplace_back(process, one);
      }
    }
    if (::poll(files.data(), files.size(), -1) < 0 && errno != EINTR) poll_each(files);
    uint64_t woken = 0;
    if (files[0].revents != 0) static_cast<void>(!::read(wake_, &woken, sizeof woken));
    for (size_t i = 1; i < files.size(); ++i) {
      if (files[i].revents == 0) continue;
      const auto& [process, one] = watched[i];
      {
        std::lock_guard lock(mutex_);
        const auto place = watched_.find(process);
        if (is_over_ || place == watched_.end() || place->second.handle != one.handle) continue;
        watched_.erase(place);
      }
      ended_(process, one.life, one.handle->how_it_ended());
    }
  }
}

}  // namespace troupe::runtime
