// One request to many, answered when all have answered.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "actors/company_actor.h"

namespace troupe::actors {

using Cast = std::vector<std::pair<Address, caf::actor>>;

/// Whoever does not answer in time is named; whoever has died is started again and then told of.
caf::error fan_out_error(const Address& whom, const caf::error& error,
                         std::chrono::milliseconds deadline);

/// How an actor's request to a cast goes on: `answered` for each answer (nothing for requests that
/// have none), then `all_have` once, or `failed` once with the first error.
template <class Answer>
struct FanOut {
  std::function<void(const Answer&)> answered;
  std::function<void()> all_have;
  std::function<void(const caf::error&)> failed;
};
template <>
struct FanOut<void> {
  std::function<void()> all_have;
  std::function<void(const caf::error&)> failed;
};

/// A request to a cast that is under way.
template <class Answer>
struct FanOutRound : DeadlineWatch::Waiting {
  FanOut<Answer> out;
  std::function<void(size_t)> left;
  std::chrono::milliseconds deadline;
  std::vector<Address> missing = {};
  bool has_ended = false;

  FanOutRound(FanOut<Answer> out, std::function<void(size_t)> left, std::chrono::milliseconds deadline)
      : out(std::move(out)), left(std::move(left)), deadline(deadline) {}

  bool is_over() const override { return has_ended; }
  void be_late() override { end_with(missing.front(), caf::make_error(caf::sec::request_timeout)); }
  void end_with(const Address& whom, const caf::error& error) {
    if (!std::exchange(has_ended, true)) out.failed(fan_out_error(whom, error, deadline));
  }
  void has_answered(const Address& whom) {
    if (has_ended) return;
    missing.erase(std::find(missing.begin(), missing.end(), whom));
    left(missing.size());
    if (!missing.empty()) return;
    has_ended = true;
    out.all_have();
  }
};

/// Sends `values` to everyone in `cast` from `self`. `left` is told how many have not answered.
/// One deadline for all, of `self->deadline_watch()`.
template <class Answer, class Self, class... Ts>
void ask_all(Self* self, const Cast& cast, std::chrono::milliseconds deadline,
             std::function<void(size_t)> left, FanOut<Answer> out, const Ts&... values) {
  if (cast.empty()) return out.all_have();
  const auto round = std::make_shared<FanOutRound<Answer>>(std::move(out), std::move(left), deadline);
  for (const auto& [address, actor] : cast) round->missing.push_back(address);
  round->left(cast.size());
  for (const auto& [address, actor] : cast) {
    const auto on_error = [round, whom = address](const caf::error& error) { round->end_with(whom, error); };
    auto request = runtime::ask(self, actor, caf::infinite, values...);
    if constexpr (std::is_void_v<Answer>) {
      request.then([round, whom = address] { round->has_answered(whom); }, on_error);
    } else {
      request.then(
          [round, whom = address](const Answer& answer) {
            if (!round->has_ended) round->out.answered(answer);
            round->has_answered(whom);
          },
          on_error);
    }
  }
  self->deadline_watch().add(round, deadline);  // requests that are open keep the round
}

}  // namespace troupe::actors
