// A supervisor in a real actor system, children that do as they are told, and a record of what
// happened in which order.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "runtime/supervision/supervisor_actor.h"
#include "runtime/telemetry/cell_layout.h"
#include "runtime/type_ids.h"

namespace troupe::runtime::tests {

/// Nothing here takes long: whoever waits longer waits for what never comes.
constexpr std::chrono::seconds patience{30};

/// Notes in the order in which they were made. Thread-safe.
class Record {
 public:
  void note(const std::string& text) {
    std::lock_guard lock(mutex_);
    notes_.push_back(text);
    changed_.notify_all();
  }
  std::vector<std::string> notes() const {
    std::lock_guard lock(mutex_);
    return notes_;
  }
  /// False: it did not come.
  bool wait_for(const std::string& text, int times = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [&] {
      return std::count(notes_.begin(), notes_.end(), text) >= times;
    });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> notes_;
};

/// Throws the texts that it is told, plays the acts that it is told, and notes its end. A deaf one
/// does not end when it is asked to.
class Child : public caf::event_based_actor {
 public:
  Child(caf::actor_config& config, Record& record, std::string id, bool is_deaf)
      : event_based_actor(config), record_(record), id_(std::move(id)), is_deaf_(is_deaf) {}

  caf::behavior make_behavior() override {
    if (is_deaf_) {
      on_exit_request(this, [this](const caf::error&) { record_.note("deaf " + id_); });
    }
    on_exception(this, [](const std::exception_ptr& thrown) {
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& error) {
        return make_error(Errc::kernel_failed, error.what());
      }
    });
    return {[](const std::string& fault) { throw std::runtime_error(fault); },
            [this](uint64_t act) { acts.at(act)(); }};
  }
  // Before anybody can know of the end.
  void on_exit() override { record_.note("end " + id_); }

  inline static std::vector<std::function<void()>> acts;  // of one test

 private:
  Record& record_;
  const std::string id_;
  const bool is_deaf_;
};

class LiveSupervisor : public testing::Test {
 protected:
  LiveSupervisor() { Child::acts.clear(); }
  ~LiveSupervisor() override {
    if (top_) end_top();
    top_ = nullptr;
    children_.clear();
  }

  /// Starts the supervisor of the test.
  void begin(const SupervisorFlags& flags, std::vector<ChildSpec> children) {
    top_ = spawn("top", flags, std::move(children), &cell_);
    on_end(top_, [this](const caf::error& reason) { end_.set_value(exit_reason_of(reason)); });
  }
  bool has_begun() {
    bool has = false;
    ask(&*self_, top(), patience, begun_atom_v)
        .receive([&] { has = true; }, [](const caf::error&) {});
    return has;
  }

  auto send(Call wanted) {
    return ask(&*self_, top(), patience,
               SupervisorCall{std::make_shared<const Call>(std::move(wanted))});
  }
  template <class Request>
  Answer answer_of(Request&& request) {
    Answer out;
    request.receive([&](const SupervisorAnswer& answer) { out = *answer.answer; },
                    [](const caf::error& error) { ADD_FAILURE() << describe(error); });
    return out;
  }
  /// What a call comes to; one that is not answered fails.
  Answer call(Call wanted) { return answer_of(send(std::move(wanted))); }
  /// Returns when the supervisor has taken all that was sent to it before: it knows no such timer.
  void sync() {
    ask(&*self_, top(), patience, timer_atom_v, uint64_t{0})
        .receive([] {}, [](const caf::error& error) { ADD_FAILURE() << describe(error); });
  }

  void fail(const std::string& id, const std::string& text) { tell(child(id), text); }
  void stop() { stop_actor(top_, caf::exit_reason::user_shutdown); }
  void end_top() {
    stop();
    ended();
  }
  ExitReason ended() {
    if (end_seen_.wait_for(patience) != std::future_status::ready) {
      ADD_FAILURE() << "the supervisor did not end";
      std::abort();  // its children would outlive the test
    }
    return end_seen_.get();
  }

  /// The newest life.
  caf::actor child(const std::string& id) const {
    std::lock_guard lock(mutex_);
    return children_.at(id);
  }
  caf::actor play(const std::string& id) {
    const caf::actor actor = system_.spawn<Child>(record_, id, deaf_.contains(id));
    std::lock_guard lock(mutex_);
    return children_[id] = actor;
  }
  std::vector<std::string> logged(LogKind kind) const {
    std::lock_guard lock(mutex_);
    std::vector<std::string> texts;
    for (const effect::Log& log : logs_) {
      if (log.kind == kind) texts.push_back(log.id + (log.text.empty() ? "" : ": ") + log.text);
    }
    return texts;
  }
  Supervisor top() const { return caf::actor_cast<Supervisor>(top_); }

  /// Set before begin(). How a child is started if not by play().
  std::map<std::string, std::function<caf::actor()>> starts_;
  std::map<std::string, std::pair<SupervisorFlags, std::vector<ChildSpec>>> inner_;
  std::set<std::string> deaf_;
  std::function<void(const effect::Log&)> hears_;
  Record record_;
  CellSlot slot_{};  ///< what the supervisor shows

 private:
  struct System {
    System() {
      static std::once_flag once;
      std::call_once(once, [] {
        caf::init_global_meta_objects<caf::id_block::troupe_runtime>();
        caf::init_global_meta_objects<caf::id_block::troupe_supervision>();
        caf::core::init_global_meta_objects();
      });
      config.set("caf.scheduler.policy", "sharing");
      config.set("caf.scheduler.max-threads", 4);
    }
    caf::actor_system_config config;
  };

  caf::actor spawn(const std::string& name, const SupervisorFlags& flags,
                   std::vector<ChildSpec> children, Cell* cell) {
    return caf::actor_cast<caf::actor>(system_.spawn<SupervisorActor>(SupervisorActor::Args{
        .name = name,
        .flags = flags,
        .children = std::move(children),
        .start = [this](const effect::Start& wanted) { return start(wanted); },
        .log =
            [this](const std::string&, const effect::Log& log) {
              {
                std::lock_guard lock(mutex_);
                logs_.push_back(log);
              }
              if (hears_) hears_(log);
            },
        .cell = cell}));
  }
  caf::actor start(const effect::Start& wanted) {
    record_.note("start " + wanted.id);
    if (const auto inner = inner_.find(wanted.id); inner != inner_.end()) {
      return spawn(wanted.id, inner->second.first, inner->second.second, nullptr);
    }
    const auto found = starts_.find(wanted.id);
    return found == starts_.end() ? play(wanted.id) : found->second();
  }

  Cell cell_{slot_};
  System configured_;
  caf::actor_system system_{configured_.config};
  caf::scoped_actor self_{system_};
  caf::actor top_;
  std::promise<ExitReason> end_;
  std::shared_future<ExitReason> end_seen_{end_.get_future()};
  mutable std::mutex mutex_;
  std::map<std::string, caf::actor> children_;
  std::vector<effect::Log> logs_;
};

}  // namespace troupe::runtime::tests
