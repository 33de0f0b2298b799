// Processes that are gone and in whose place nobody has come yet.
#pragma once

#include <atomic>
#include <map>
#include <memory>

#include "actors/messages/directory.h"
#include "runtime/caf_shim.h"

namespace troupe::actors {

/// A process is as its crew: that ends with it, and whoever takes its place hands in another.
class CrewEnds {
 public:
  /// Of those in the directory; not of `own`, whose crew is started again at once.
  bool is_one_missing(const Directory& directory, int own) {
    bool is_missing = false;
    for (const auto& [address, crew] : directory.of(Role::crew)) {
      if (address.index == own) continue;
      End& end = ends_[address];
      if (end.crew != crew) {
        end = {crew, std::make_shared<std::atomic<bool>>(false)};
        runtime::on_end(crew, [has_come = end.has_come](const caf::error&) { *has_come = true; });
      }
      is_missing = is_missing || *end.has_come;
    }
    return is_missing;
  }
  void clear() { ends_.clear(); }

 private:
  /// Noticed on any thread.
  struct End {
    caf::actor crew;
    std::shared_ptr<std::atomic<bool>> has_come;
  };
  std::map<Address, End> ends_;
};

}  // namespace troupe::actors
