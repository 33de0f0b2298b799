// One request to many, answered when all have answered.
#pragma once

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
template <class Answer, class Self, class... Ts>
void ask_all(Self* self, const Cast& cast, std::chrono::milliseconds deadline,
             std::function<void(size_t)> left, FanOut<Answer> out, const Ts&... values) {
  struct Round {
    FanOut<Answer> out;
    std::function<void(size_t)> left;
    size_t missing;
    bool is_over = false;
  };
  if (cast.empty()) return out.all_have();
  auto round = std::make_shared<Round>(Round{std::move(out), std::move(left), cast.size()});
  round->left(round->missing);
  for (const auto& [address, actor] : cast) {
    const auto on_error = [round, whom = address, deadline](const caf::error& error) {
      if (!std::exchange(round->is_over, true)) {
        round->out.failed(fan_out_error(whom, error, deadline));
      }
    };
    const auto count = [round] {
      if (round->is_over) return;
      round->left(--round->missing);
      if (round->missing > 0) return;
      round->is_over = true;
      round->out.all_have();
    };
    auto request = runtime::ask(self, actor, deadline, values...);
    if constexpr (std::is_void_v<Answer>) {
      request.then(count, on_error);
    } else {
      request.then(
          [round, count](const Answer& answer) {
            if (!round->is_over) round->out.answered(answer);
            count();
          },
          on_error);
    }
  }
}

}  // namespace troupe::actors
