// Process 0 of a run that is spread over several: gives the nodes their parts, and notices when one
// is gone.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "actors/launch.h"
#include "actors/messages/front_desk.h"
#include "actors/placement/mover.h"
#include "deploy/cluster/lead/gathering.h"
#include "deploy/cluster/lead/node_watch.h"
#include "deploy/cluster/lead/paced_dealer.h"
#include "deploy/cluster/lead/slow_nodes.h"
#include "deploy/train/run_setup.h"

namespace troupe::deploy {

class Leader {
 public:
  struct Args {
    std::unique_ptr<Gathering> gathering;
    const RunSetup& setup;
    std::shared_ptr<actors::Company> company;
    std::string run_folder;
    bool hands_out_state;  ///< or nodes make state 0 by the seed
    bool takes_over = false;  ///< from a lost leader, whose nodes hold the state
    uint64_t term = 0;        ///< of its lease; 0: there is none
    const actors::Moves* moves = nullptr;  ///< of a run that goes on with other processes (Gathering::regroup)
    std::function<void()> has_its_blocks = {};  ///< called when this process has, though others may lack theirs
  };
  /// Everybody's actors are there and reach each other when this returns, and blocks are where they belong.
  /// Throws ClusterError.
  explicit Leader(Args args);
  ~Leader();
  Leader(const Leader&) = delete;
  Leader& operator=(const Leader&) = delete;

  caf::actor_system& actors() { return *system_; }
  /// What happens to the run's processes, for its witness.
  static wire::Event event_of(wire::Event::Kind kind, std::string text);
  /// The run was paused after a step for it to go on with so many processes; and why.
  struct Change {
    int processes;
    std::set<int> leaving;
    std::string why;
  };
  std::optional<Change> change();
  /// The run is to end after its step: it does not wait for nodes that are to come by themselves. From any
  /// thread.
  void stop();
  /// It was ended while it waited so; in which, one is missing, and why. Empty: it was not.
  std::string stopped_without() const;
  /// It does go on so: its nodes are told to come again when this part of it is left.
  void go_on() { goes_on_ = true; }
  /// The run was ended because no copy of some block is left.
  bool has_lost_state() const { return has_lost_state_; }
  /// The run goes on elsewhere, so that nodes are told nothing when it is left here: they look for the one
  /// that leads. From any thread.
  void abandon() { is_abandoned_ = true; }
  /// Names processes that compute more slowly than the others; `cluster.on_slow` says what follows.
  void step_done(const wire::StepDone& done);

  /// While it lives: what nodes report is the company's news. A node that is gone is replaced, by one
  /// that is started or that joins, if its blocks have buddies that live; else the troupe's run ends.
  /// Behind it the nodes have been told that the run has ended.
  class Watch {
   public:
    /// `advice` stands behind the error of a run that a node's loss has ended.
    Watch(Leader& leader, actors::Troupe& troupe, std::string advice);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    Leader& leader_;
  };

 private:
  wire::NodeStart start_message() const;
  void start_nodes();
  class Admission;
  /// What a thread that polls is woken by.
  class Bell {
   public:
    Bell();  ///< throws ClusterError
    ~Bell();
    Bell(const Bell&) = delete;
    Bell& operator=(const Bell&) = delete;

    int file() const { return file_; }
    void ring() const;
    void stop_ringing() const;

   private:
    const int file_;
  };
  bool is_news(int process, uint32_t life) const;
  bool is_newcomers(int process, uint32_t life, const std::string& how);
  void unheard(int process, const std::string& what);
  void suspected(int process, uint32_t life, const std::string& how);
  void lost(int process, uint32_t life, const std::string& noticed);
  void count_out(int process, uint32_t life, const std::string& why, uint64_t noticed_us);
  void fence(int process);
  bool is_beyond_help() const;
  void lose_state(const std::string& why);
  void give_up(const std::string& why);
  void unplugged(int peer, const std::string& why);
  void start_guests();
  void move_blocks();
  void replace_loop();
  void look_for_changes();
  void wait_for_news();
  void wake();
  std::string objection_to(int processes) const;
  void deal_by_pace();
  void say_of_step(const wire::StepDone& done, wire::Event::Kind kind, std::string text);
  void rebalance(const wire::StepDone& done);
  bool let_slow_ones_go();
  bool follow_orders();
  void begin_change(Change change);
  void wait_for_crews();
  std::string why_not_ready(const std::string& what) const;
  void replace(int process);
  std::string admit(int process, runtime::Member& node, Admission& admission);
  void wait_until_restored(int process);
  void tell_of(int process, const wire::NodeFacts& facts, const Admission& admission);
  void connected(int process, const wire::Peer& peer);

  /// How often those that are waited for are looked for.
  static constexpr std::chrono::milliseconds look_time{20};
  /// For nodes to make their arenas and actors.
  static constexpr std::chrono::seconds ready_time{300};
  /// For nodes to end when the run has.
  static constexpr std::chrono::seconds end_time{10};
  /// And for them to come to rest, when it goes on with others.
  static constexpr std::chrono::seconds rest_time{2};

  const RunSetup& setup_;
  const std::string run_folder_;
  const bool hands_out_state_, takes_over_;
  const uint64_t term_;
  const std::shared_ptr<actors::Company> company_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  const Bell bell_;  // the replacing thread shall look; before whoever may find that a process is gone
  actors::Troupe* troupe_ = nullptr;       // while it is watched
  std::optional<std::string> first_loss_;  // that nothing can be done about
  std::string advice_;
  std::map<int, std::string> gone_;        // and why; not replaced yet
  /// Who is about to take the place of one of these.
  struct Newcomer {
    int process;
    uint32_t life;
    int file;               // the socket of it
    bool is_reached = false;  // by this process: what is heard of its number is of it
    std::string loss = {};  // why it does not either
  };
  std::optional<Newcomer> newcomer_;
  bool is_ready_ = false;                  // everybody is there, and has its blocks
  std::optional<Change> change_;           // under way
  std::set<int> connected_;                // nodes that reach the one that is being taken in
  std::vector<uint32_t> lives_;            // by process
  std::atomic<bool> is_stopping_{false};
  std::string stopped_without_;
  std::atomic<bool> is_over_{false}, has_lost_state_{false}, is_abandoned_{false};
  bool goes_on_ = false, has_parted_ = false;
  std::unique_ptr<Gathering> gathering_;
  std::unique_ptr<actors::Mover> mover_;   // null: nothing moves
  const std::function<void()> has_its_blocks_;
  std::atomic<bool> is_moving_{false};     // parcels are its
  std::unique_ptr<NodeWatch> watch_;       // before the plane, whose thread asks it how a process has ended
  std::unique_ptr<runtime::DataPlane> plane_;
  std::unique_ptr<actors::SystemConfig> config_;
  std::unique_ptr<caf::actor_system> system_;
  std::unique_ptr<actors::FrontDesk> desk_;
  int failed_replacements_ = 0;            // one behind the other
  SlowNodes slow_nodes_;
  std::shared_ptr<PacedDealer> dealer_;          // null: as the plan deals
  std::set<int> stay_slow_, asked_to_leave_;     // nodes that are to go for that
  std::thread replacing_;
};

}  // namespace troupe::deploy
