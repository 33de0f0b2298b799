// Does to what is around a run what the failpoints say that fire in it.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "actors/control/failpoints.h"

namespace troupe::deploy {

class Surroundings {
 public:
  /// What is done for a failpoint's delay: called once, then every few milliseconds, and at the end. May throw.
  struct Deed {
    std::function<void()> strike;
    std::function<void()> relieve;
  };
  /// Follows the events of a run that begins later. `deed_of` is called, like the deeds, on a thread of this object.
  Surroundings(std::filesystem::path events, std::function<Deed(const actors::Failpoint&)> deed_of);
  /// Everything is relieved.
  ~Surroundings();
  Surroundings(const Surroundings&) = delete;
  Surroundings& operator=(const Surroundings&) = delete;

  /// Relieves everything; failpoints that were done from their beginning to their end.
  std::vector<std::string> finish();
  /// Of deeds that failed: the failpoint, and why.
  std::vector<std::string> failed() const;

 private:
  struct UnderWay {
    actors::Failpoint failpoint;
    Deed deed;
    std::chrono::steady_clock::time_point until;
    std::string error;  // of the last try that failed
  };
  void follow();
  void begin(const std::string& witness);
  static void attempt(UnderWay& one, const std::function<void()>& what);
  void go_on(bool is_last);

  const std::filesystem::path events_;
  const std::function<Deed(const actors::Failpoint&)> deed_of_;
  std::vector<UnderWay> under_way_;  // of the thread
  mutable std::mutex mutex_;
  bool is_over_ = false;
  std::vector<std::string> done_, failed_;
  std::thread thread_;
};

}  // namespace troupe::deploy
