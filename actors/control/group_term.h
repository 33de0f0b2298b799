// How long the processes of a run stay in the groups that their optimizer shards sum in (actors/train/shard_group.h):
// from step to step, until anything comes otherwise than it was begun.
#pragma once

#include <cstdint>

namespace troupe::actors {

class GroupTerm {
 public:
  /// Of one step, in groups.
  static constexpr int most_beginnings = 3;

  /// A step begins, for the first time or again: whether new groups are to be made for it.
  bool is_new(uint64_t step) {
    beginnings_ = step == begun_ ? beginnings_ + 1 : 1;
    if (beginnings_ > most_beginnings) has_given_up_ = true;
    const bool follows = is_whole_ && begun_ + 1 == step && applied_ == begun_;
    begun_ = step;
    is_whole_ = true;
    if (!follows) since_ = step;
    return !follows;
  }
  /// Everybody is told to apply a step: whether together. Once, and not if others have begun it.
  bool applies(uint64_t step) {
    const bool is_first_time = is_whole_ && !has_given_up_ && step == begun_ && applied_ != step;
    applied_ = step;
    is_whole_ = is_first_time;
    return is_first_time;
  }
  /// A process is new, or has lost its state: nobody counts on groups until others are made.
  void lost() { is_whole_ = false; }
  /// No groups are made any more: they cannot be had, or a step in which they were made was begun too often.
  void give_up() { has_given_up_ = true; }
  bool has_given_up() const { return has_given_up_; }
  /// The step that the groups were made for.
  uint64_t since() const { return since_; }

 private:
  uint64_t begun_ = 0, applied_ = 0, since_ = 0;
  bool is_whole_ = false, has_given_up_ = false;
  int beginnings_ = 0;  // of the step
};

}  // namespace troupe::actors
