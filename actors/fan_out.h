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

/// Sends `values` to everyone in `cast` from `self`. `left` is told how many have not answered.
/// One deadline for all: each that an actor sets wakes a thread of CAF, and takes part in every message.
template <class Answer, class Self, class... Ts>
void ask_all(Self* self, const Cast& cast, std::chrono::milliseconds deadline,
             std::function<void(size_t)> left, FanOut<Answer> out, const Ts&... values) {
  struct Round {
    FanOut<Answer> out;
    std::function<void(size_t)> left;
    std::vector<Address> missing;
    caf::disposable timeout = {};
    bool is_over = false;

    void end_with(const caf::error& error) {
      if (std::exchange(is_over, true)) return;
      timeout.dispose();
      out.failed(error);
    }
    void has_answered(const Address& whom) {
      if (is_over) return;
      missing.erase(std::find(missing.begin(), missing.end(), whom));
      left(missing.size());
      if (!missing.empty()) return;
      is_over = true;
      timeout.dispose();
      out.all_have();
    }
  };
  if (cast.empty()) return out.all_have();
  auto round = std::make_shared<Round>(Round{std::move(out), std::move(left), {}});
  for (const auto& [address, actor] : cast) round->missing.push_back(address);
  round->left(cast.size());
  for (const auto& [address, actor] : cast) {
    const auto on_error = [round, whom = address, deadline](const caf::error& error) {
      round->end_with(fan_out_error(whom, error, deadline));
    };
    auto request = runtime::ask(self, actor, caf::infinite, values...);
    if constexpr (std::is_void_v<Answer>) {
      request.then([round, whom = address] { round->has_answered(whom); }, on_error);
    } else {
      request.then(
          [round, whom = address](const Answer& answer) {
            if (!round->is_over) round->out.answered(answer);
            round->has_answered(whom);
          },
          on_error);
    }
  }
  // Requests that are open keep the round, not their deadline.
  round->timeout = self->run_delayed(deadline, [open = std::weak_ptr(round), deadline] {
    const auto round = open.lock();
    if (!round || round->is_over) return;
    const Address whom = round->missing.front();
    round->end_with(fan_out_error(whom, caf::make_error(caf::sec::request_timeout), deadline));
  });
}

}  // namespace troupe::actors
