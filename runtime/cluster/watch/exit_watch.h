// Ends of processes of this machine, as they happen.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/cluster/watch/process_handle.h"

namespace troupe::runtime {

class ExitWatch {
 public:
  /// Called on a thread of this object, which runs before others: which of them, and how.
  using Ended = std::function<void(int process, uint32_t life, const std::string& how)>;
  explicit ExitWatch(Ended ended);
  ~ExitWatch();
  ExitWatch(const ExitWatch&) = delete;
  ExitWatch& operator=(const ExitWatch&) = delete;

  /// In the place of who had that number.
  void watch(int process, uint32_t life, std::shared_ptr<const ProcessHandle> handle);
  void forget(int process);

 private:
  struct Watched {
    uint32_t life;
    std::shared_ptr<const ProcessHandle> handle;
  };
  void loop();
  void wake();

  const Ended ended_;
  std::mutex mutex_;
  std::map<int, Watched> watched_;  // by process
  bool is_over_ = false;
  int wake_;  // eventfd: the thread shall look again
  std::thread thread_;
};

}  // namespace troupe::runtime
