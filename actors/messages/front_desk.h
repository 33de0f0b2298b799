// How the actor systems of a run's processes reach each other: every other process connects to the
// desk of process 0, once, and hands in its crew there. Requests then go both ways over that connection.
// CAF notices a dead peer late and bounces nothing, so deadlines stand on every request, and the sockets
// of the join (runtime/cluster) say who is gone.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "actors/company.h"

namespace troupe::actors {

class FrontDesk {
 public:
  /// Opens it at `host`, at any port that is free. Whoever has another `caf.middleman.app-identifiers`
  /// than `actors` is turned away by CAF, and by TLS who has no certificate of the same authority, if
  /// `actors` is set up so. Throws ClusterError.
  FrontDesk(caf::actor_system& actors, std::shared_ptr<Company> company, const std::string& host);
  ~FrontDesk();
  FrontDesk(const FrontDesk&) = delete;
  FrontDesk& operator=(const FrontDesk&) = delete;

  uint16_t port() const { return port_; }
  /// Waits until every other process has handed in its crew: it is in the company's directory. False if
  /// not within that time.
  bool wait_for_crews(std::chrono::milliseconds time);
  /// The same of one.
  bool wait_for_crew(int process, std::chrono::milliseconds time);
  /// One of them is lost: its crew is to be handed in anew, and to be nobody's until it is let in: a crew that is
  /// in the directory is asked for steps.
  void forget(int process);
  void let_in(int process);

 private:
  /// Who has come.
  struct Book {
    std::mutex mutex;
    std::condition_variable changed;
    std::set<int> processes;
    std::map<int, caf::actor> kept_back;  // those that are not let in yet; null: not there
  };

  caf::actor_system& actors_;
  const std::shared_ptr<Company> company_;
  const std::shared_ptr<Book> book_ = std::make_shared<Book>();
  FrontDeskHandle desk_;
  uint16_t port_ = 0;
};

/// The desk of process 0, from another process. Blocks. Throws ClusterError.
FrontDeskHandle reach_front_desk(caf::actor_system& actors, const std::string& host, uint16_t port);

}  // namespace troupe::actors
