#include "actors/messages/directory.h"

namespace troupe::actors {

void Post::send(caf::message message) {
  {
    std::lock_guard lock(mutex_);
    if (in_mailbox_ >= credit_) {
      if (parked_.size() >= most_parked) {
        throw OverloadError(name_ + " has " + std::to_string(in_mailbox_) +
                            " token messages in its mailbox and " +
                            std::to_string(parked_.size()) + " waiting for a place; no more fit");
      }
      parked_.push_back(std::move(message));
      if (cell_) cell_->parked(1);
      return;
    }
    ++in_mailbox_;
  }
  runtime::tell_message(actor_, std::move(message));
}

void Post::taken() {
  caf::message next;
  {
    std::lock_guard lock(mutex_);
    if (parked_.empty()) {
      if (in_mailbox_ > 0) --in_mailbox_;
      return;
    }
    next = std::move(parked_.front());
    parked_.pop_front();
    if (cell_) cell_->parked(-1);
  }
  runtime::tell_message(actor_, std::move(next));
}

void Directory::put(const Address& address, caf::actor actor, runtime::Cell* cell) {
  auto post = std::make_shared<Post>(to_string(address), std::move(actor), cell);
  std::lock_guard lock(mutex_);
  posts_[address].swap(post);  // the old one is released outside the lock
}

caf::actor Directory::find(const Address& address) const {
  const auto found = post(address);
  return found ? found->actor() : caf::actor();
}

std::shared_ptr<Post> Directory::post(const Address& address) const {
  std::lock_guard lock(mutex_);
  const auto found = posts_.find(address);
  return found == posts_.end() ? nullptr : found->second;
}

std::vector<std::pair<Address, caf::actor>> Directory::all() const {
  std::vector<std::pair<Address, caf::actor>> found;
  std::lock_guard lock(mutex_);
  for (const auto& [address, post] : posts_) found.emplace_back(address, post->actor());
  return found;
}

std::vector<std::pair<Address, caf::actor>> Directory::of(Role role) const {
  std::vector<std::pair<Address, caf::actor>> found;
  std::lock_guard lock(mutex_);
  for (auto i = posts_.lower_bound(Address{role, INT32_MIN, INT32_MIN, INT32_MIN});
       i != posts_.end() && i->first.role == role; ++i) {
    found.emplace_back(i->first, i->second->actor());
  }
  return found;
}

void Directory::clear() {
  std::map<Address, std::shared_ptr<Post>> dropped;  // handles are released outside the lock
  std::lock_guard lock(mutex_);
  dropped.swap(posts_);
}

}  // namespace troupe::actors
