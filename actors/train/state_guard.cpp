#include "actors/train/state_guard.h"

#include <utility>

#include "runtime/state/hash.h"

namespace troupe::actors {

StateGuard::StateGuard(std::vector<int64_t> whole, std::vector<int64_t> weights)
    : held_(std::make_shared<const Held>(Held{std::move(whole), std::move(weights)})) {}

uint64_t StateGuard::Held::hash(runtime::StateArena& arena, size_t i, uint64_t state) const {
  return i < whole.size() ? runtime::block_hash(arena, id(i), state)
                          : runtime::weight_hash(arena, id(i), state);
}

std::shared_ptr<const std::vector<uint64_t>> StateGuard::note(kernels::Queue& queue,
                                                              runtime::StateArena& arena,
                                                              uint64_t state) {
  // Told of a commit again, as by who leads next: what memory has changed since is not to be noted.
  if (noted_ == state && hashes_) return hashes_;
  noted_ = state;
  hashes_ = std::make_shared<std::vector<uint64_t>>(held_->count());
  queue.run(static_cast<int64_t>(held_->count()),
            [held = held_, hashes = hashes_, &arena, state](int64_t i) {
              const auto at = static_cast<size_t>(i);
              (*hashes)[at] = held->hash(arena, at, state);
            });
  return hashes_;
}

std::shared_ptr<const std::vector<uint8_t>> StateGuard::check(kernels::Queue& queue,
                                                              runtime::StateArena& arena,
                                                              uint64_t state) {
  const size_t count = state != 0 && noted_ == state ? held_->count() : 0;
  auto differs = std::make_shared<std::vector<uint8_t>>(count);
  queue.run(static_cast<int64_t>(count),
            [held = held_, hashes = hashes_, differs, &arena, state](int64_t i) {
              const auto at = static_cast<size_t>(i);
              (*differs)[at] = held->hash(arena, at, state) == (*hashes)[at] ? 0 : 1;
            });
  return differs;
}

std::vector<int64_t> StateGuard::damaged(const std::vector<uint8_t>& differs) const {
  std::vector<int64_t> ids;
  for (size_t i = 0; i < differs.size(); ++i) {
    if (differs[i] != 0) ids.push_back(held_->id(i));
  }
  return ids;
}

}  // namespace troupe::actors
