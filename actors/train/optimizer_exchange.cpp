// What an optimizer shard shares with those of other processes: gradients go to who owns a block, its
// weights to who uses it, and whole states to process 0 (to be saved or scored) and from it.
#include <algorithm>

#include "actors/train/optimizer_shard.h"
#include "kernels/permute.h"

namespace troupe::actors {
namespace {

Pb<wire::TokenHeader> header_of(const wire::Epoch& epoch, uint64_t step, int sender) {
  wire::TokenHeader header;
  *header.mutable_id()->mutable_epoch() = epoch;
  header.mutable_id()->set_step(step);
  header.mutable_id()->set_sender(static_cast<uint32_t>(sender));
  return header;
}

/// Memory of the arena, which outlives every message of its company.
runtime::TensorRef in_arena(const kernels::ConstTensor& tensor) {
  kernels::Tensor view;
  view.data = const_cast<void*>(tensor.data);
  view.dtype = tensor.dtype;
  view.rank = tensor.rank;
  view.shape = tensor.shape;
  view.row_stride = tensor.row_stride;
  return {view, nullptr};
}

std::set<int> owners_of(const std::vector<BlockEdge>& edges) {
  std::set<int> owners;
  for (const BlockEdge& edge : edges) owners.insert(edge.owner);
  return owners;
}

std::set<int> users_of(const std::vector<BlockEdge>& edges) {
  std::set<int> users;
  for (const BlockEdge& edge : edges) users.insert(edge.user);
  return users;
}

}  // namespace

/// The edge whose other end sent this. Throws where there is none, or its blocks are not those.
const BlockEdge& OptimizerShardActor::edge_from(const TokenMessage& message,
                                                const std::vector<BlockEdge>& edges) const {
  const auto sender = static_cast<int>(message.id().sender());
  for (const BlockEdge& edge : edges) {
    const int other = edge.user == place().index ? edge.owner : edge.user;
    if (other == sender) return edge;
  }
  throw std::runtime_error(to_string(place()) + " shares no blocks with " +
                           to_string(shard(sender)) + ", which sent it some");
}

void OptimizerShardActor::send_gradients(const wire::BeginStep& step) {
  for (const BlockEdge& edge : owned_by_others_) {
    TokenMessage message{header_of(step.epoch(), step.step(), place().index), {}};
    for (const int64_t id : edge.blocks) {
      message.tensors.push_back(in_arena(company().arena.block_gradient(id)));
    }
    send_when_done(shard(edge.owner), gradients_atom_v, std::move(message));
  }
}

void OptimizerShardActor::gradients(const TokenMessage& message) {
  if (!accept(message.id(), Edge::gradients)) return;
  unadded_.push_back(message);
  if (may_add_) add_gradients();
}

/// Integers: whoever comes first (sum law).
void OptimizerShardActor::add_gradients() {
  for (const TokenMessage& message : std::exchange(unadded_, {})) {
    const BlockEdge& edge = edge_from(message, used_by_others_);
    for (size_t i = 0; i < edge.blocks.size(); ++i) {
      kernels::add_fixed_point(queue(), {.addend = message.tensors.at(i).view,
                                         .sum = company().arena.mutable_block_gradient(edge.blocks[i])});
    }
    release_when_done(std::make_shared<TokenMessage>(message));
    heard(Verb::gradients, message.id().step(), static_cast<int>(message.id().sender()));
  }
}

void OptimizerShardActor::send_weights(const wire::StepRecord& record) {
  for (const BlockEdge& edge : used_by_others_) {
    TokenMessage message{header_of(record.epoch(), record.step(), place().index), {}};
    for (const int64_t id : edge.blocks) {
      message.tensors.push_back(in_arena(company().arena.block(id, record.step()).weight));
    }
    send_when_done(shard(edge.user), weights_atom_v, std::move(message));
  }
}

template <class Atom>
void OptimizerShardActor::send_states(const std::vector<BlockEdge>& edges, Atom atom,
                                      const wire::StepRecord& record) {
  for (const BlockEdge& edge : edges) {
    TokenMessage message{header_of(record.epoch(), record.step(), place().index), {}};
    for (const int64_t id : edge.blocks) {
      for (const kernels::Tensor& part : company().arena.block(id, record.step()).parts()) {
        if (part.count() > 0) message.tensors.push_back(in_arena(part));
      }
    }
    send_when_done(shard(edge.user == place().index ? edge.owner : edge.user), atom,
                   std::move(message));
  }
}

void OptimizerShardActor::weights(const TokenMessage& message) { take_blocks(message, Verb::weights); }

void OptimizerShardActor::state(const TokenMessage& message) { take_blocks(message, Verb::state); }

/// Into the arena. A message that was overtaken by a newer state is dropped: what it would write over
/// is that state's.
void OptimizerShardActor::take_blocks(const TokenMessage& message, Verb verb) {
  runtime::StateArena& arena = company().arena;
  const uint64_t step = message.id().step();
  const bool is_whole = verb == Verb::state;
  const BlockEdge& edge =
      edge_from(message, is_whole ? (company().is_first() ? from_others_ : to_first_)
                                  : owned_by_others_);
  size_t next = 0;
  for (const int64_t id : edge.blocks) {
    const auto parts = arena.block(id, step).parts();
    for (size_t part = 0; part < (is_whole ? parts.size() : 1); ++part) {
      if (parts[part].count() == 0) continue;
      const runtime::TensorRef& from = message.tensors.at(next++);
      const bool is_there = part == 0 && arena.stamp(id, step) >= std::max<uint64_t>(step, 1);
      if (!is_there) kernels::copy(queue(), {.x = from, .y = parts[part]});
    }
  }
  queue().run(1, [&arena, blocks = edge.blocks, step](int64_t) {
    for (const int64_t id : blocks) {
      if (arena.stamp(id, step) < step) arena.set_stamp(id, step);
    }
  });
  release_when_done(std::make_shared<TokenMessage>(message));
  const auto sender = static_cast<int>(message.id().sender());
  when_done([this, verb, step, sender] { heard(verb, step, sender); });
}

void OptimizerShardActor::wait_for(Waiting waiting) {
  std::erase_if(waiting.senders, [&](int sender) {
    return taken_.contains({waiting.verb, waiting.step, sender});
  });
  if (waiting.senders.empty()) return waiting.then();
  waits_for("blocks of others", waiting.senders.size());
  waiting_.push_back(std::move(waiting));
}

void OptimizerShardActor::heard(Verb verb, uint64_t step, int sender) {
  taken_.emplace(verb, step, sender);
  std::erase_if(taken_, [step](const auto& one) { return std::get<1>(one) + 4 < step; });
  std::vector<std::function<void()>> complete;
  std::erase_if(waiting_, [&](Waiting& waiting) {
    if (waiting.verb != verb || waiting.step != step) return false;
    waiting.senders.erase(sender);
    if (waiting.senders.empty()) complete.push_back(std::move(waiting.then));
    return waiting.senders.empty();
  });
  for (const auto& then : complete) then();
}

/// Process 0 gets the others' blocks.
caf::result<void> OptimizerShardActor::gather(const Pb<wire::StepRecord>& record) {
  const auto promise = promised(make_response_promise<void>());
  if (!company().is_first()) send_states(to_first_, state_atom_v, *record);
  const auto answer = [promise] { promise->deliver(); };
  const auto senders = company().is_first() ? owners_of(from_others_) : std::set<int>();
  wait_for({Verb::state, record->step(), senders, [this, answer] { when_done(answer); }});
  return *promise;
}

/// The others get theirs from process 0, then everybody weights from who owns them.
caf::result<void> OptimizerShardActor::scatter(const Pb<wire::StepRecord>& record) {
  const auto promise = promised(make_response_promise<void>());
  if (company().is_first()) send_states(from_others_, state_atom_v, *record);
  const auto answer = [promise] { promise->deliver(); };
  const auto senders = company().is_first() ? std::set<int>() : users_of(to_first_);
  wait_for({Verb::state, record->step(), senders, [this, answer, record] {
              send_weights(*record);
              wait_for({Verb::weights, record->step(), owners_of(owned_by_others_),
                        [this, answer] { when_done(answer); }});
            }});
  return *promise;
}

}  // namespace troupe::actors
