#include "actors/messages/front_desk.h"

#include <caf/io/all.hpp>
#include <caf/openssl/all.hpp>

#include "runtime/cluster/cluster_error.h"

namespace troupe::actors {
namespace {

/// Passes on what other processes say: their crews into the directory, restarts to the coordinator.
class DeskActor : public FrontDeskHandle::base {
 public:
  DeskActor(caf::actor_config& config, std::shared_ptr<Company> company,
            std::function<void(int, const caf::actor&)> has_come)
      : FrontDeskHandle::base(config), company_(std::move(company)), has_come_(std::move(has_come)) {}

  const char* name() const override { return "front desk"; }

  behavior_type make_behavior() override {
    return {
        [this](joined_atom, int32_t process, const caf::actor& crew) -> caf::result<void> {
          if (process < 1 || process >= company_->placement.processes()) {
            return runtime::make_error(runtime::Errc::wrong_step,
                                       "found process " + std::to_string(process) + ", the run has " +
                                           std::to_string(company_->placement.processes()));
          }
          has_come_(process, crew);
          return caf::unit;
        },
        [this](restarted_atom, uint8_t role, const std::string& text) {
          const auto coordinator = company_->directory.find({Role::coordinator});
          if (coordinator) runtime::tell(coordinator, restarted_atom_v, role, text);
        },
    };
  }

 private:
  const std::shared_ptr<Company> company_;
  const std::function<void(int, const caf::actor&)> has_come_;
};

}  // namespace

FrontDesk::FrontDesk(caf::actor_system& actors, std::shared_ptr<Company> company,
                     const std::string& host)
    : actors_(actors), company_(std::move(company)) {
  desk_ = actors.spawn<DeskActor>(
      company_, [book = book_, company = company_](int process, const caf::actor& crew) {
        {
          std::lock_guard lock(book->mutex);
          book->processes.insert(process);
          const auto kept = book->kept_back.find(process);
          if (kept == book->kept_back.end()) {
            company->directory.put({Role::crew, 0, 0, process}, crew);
          } else {
            kept->second = crew;
          }
        }
        book->changed.notify_all();
      });
  const auto port = actors.has_openssl_manager()
                        ? caf::openssl::publish(desk_, 0, host.c_str())
                        : actors.middleman().publish(desk_, 0, host.c_str());
  if (!port) {
    runtime::stop_actor(desk_, caf::exit_reason::user_shutdown);
    throw runtime::ClusterError("cannot open the control plane at " + host + ": " +
                                caf::to_string(port.error()));
  }
  port_ = *port;
}

FrontDesk::~FrontDesk() {
  if (actors_.has_openssl_manager()) {
    // caf::openssl::unpublish of CAF 0.18 does not compile.
    caf::make_function_view(actors_.openssl_manager().actor_handle())(
        caf::unpublish_atom_v, desk_.address(), port_);
  } else {
    actors_.middleman().unpublish(desk_, port_);
  }
  runtime::stop_actor(desk_, caf::exit_reason::user_shutdown);
}

bool FrontDesk::wait_for_crews(std::chrono::milliseconds time) {
  std::unique_lock lock(book_->mutex);
  const auto others = static_cast<size_t>(company_->placement.processes() - 1);
  return book_->changed.wait_for(lock, time, [&] { return book_->processes.size() >= others; });
}

bool FrontDesk::wait_for_crew(int process, std::chrono::milliseconds time) {
  std::unique_lock lock(book_->mutex);
  return book_->changed.wait_for(lock, time, [&] { return book_->processes.contains(process); });
}

void FrontDesk::forget(int process) {
  std::lock_guard lock(book_->mutex);
  book_->processes.erase(process);
  book_->kept_back[process] = nullptr;
}

void FrontDesk::let_in(int process) {
  std::lock_guard lock(book_->mutex);
  const auto kept = book_->kept_back.extract(process);
  if (kept && kept.mapped()) company_->directory.put({Role::crew, 0, 0, process}, kept.mapped());
}

FrontDeskHandle reach_front_desk(caf::actor_system& actors, const std::string& host,
                                 uint16_t port) {
  auto desk = actors.has_openssl_manager()
                  ? caf::openssl::remote_actor<FrontDeskHandle>(actors, host, port)
                  : actors.middleman().remote_actor<FrontDeskHandle>(host, port);
  if (!desk) {
    throw runtime::ClusterError("cannot reach the control plane at " + host + ":" +
                                std::to_string(port) + ": " + caf::to_string(desk.error()));
  }
  return *desk;
}

}  // namespace troupe::actors
