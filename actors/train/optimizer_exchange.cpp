// What an optimizer shard shares with those of other processes: gradients go to who owns a block, its
// weights to who uses it, and whole states to process 0 (to be saved or scored) and from it.
#include <algorithm>

#include "actors/train/apply_block.h"
#include "actors/train/optimizer_shard.h"

namespace troupe::actors {
namespace {

Pb<wire::TokenHeader> header_of(const wire::Epoch& epoch, uint64_t step, int sender) {
  wire::TokenHeader header;
  *header.mutable_id()->mutable_epoch() = epoch;
  header.mutable_id()->set_step(step);
  header.mutable_id()->set_sender(static_cast<uint32_t>(sender));
  return header;
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

bool is_absent(const wire::StepRecord& record, int process) {
  return std::find(record.absent().begin(), record.absent().end(), process) != record.absent().end();
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

/// Sums of some blocks go in several messages, numbered as layers; those of none in an empty one (unit law).
int OptimizerShardActor::messages_of(const std::vector<int64_t>& blocks) const {
  const size_t each = company().blocks_at_once;
  return std::max(1, static_cast<int>((blocks.size() + each - 1) / each));
}

std::span<const int64_t> OptimizerShardActor::blocks_of_message(const std::vector<int64_t>& blocks, int number) const {
  if (number < 0 || number >= messages_of(blocks)) {
    throw std::runtime_error(to_string(place()) + " got message " + std::to_string(number) +
                             " of sums, wanted one of " + std::to_string(messages_of(blocks)));
  }
  const size_t first = static_cast<size_t>(number) * company().blocks_at_once;
  return std::span(blocks).subspan(first, std::min(company().blocks_at_once, blocks.size() - first));
}

template <class Atom>
void OptimizerShardActor::send_sums(int to, Atom atom, int number, ShardMemory::Tensors tensors) {
  wire::TokenHeader header = *header_of(step().epoch(), step().step(), place().index);
  header.mutable_id()->set_layer(number);
  send_when_done(shard(to), atom, TokenMessage{header, std::move(tensors)});
}

/// One of the messages with a shard's sums is in the lane; with the last it has been heard.
void OptimizerShardActor::heard_sums(Verb verb, const wire::UnitId& id, const std::vector<int64_t>& blocks) {
  const int sender = static_cast<int>(id.sender());
  if (++sums_come_[{verb, sender}] == messages_of(blocks)) heard(verb, id.step(), sender);
}

void OptimizerShardActor::send_gradients() {
  for (const BlockEdge& edge : owned_by_others_) {
    for (int number = 0; number < messages_of(edge.blocks); ++number) {
      send_sums(edge.owner, gradients_atom_v, number, memory_.gradients(blocks_of_message(edge.blocks, number)));
    }
  }
}

void OptimizerShardActor::gradients(const TokenMessage& message) {
  if (!accept(message, Edge::gradients)) return;
  unadded_.push_back(message);
  if (may_add_) add_gradients();
}

/// Integers: whoever comes first (sum law).
void OptimizerShardActor::add_gradients() {
  for (const TokenMessage& message : std::exchange(unadded_, {})) {
    const std::vector<int64_t>& blocks = edge_from(message, used_by_others_).blocks;
    const std::span<const int64_t> its = blocks_of_message(blocks, message.id().layer());
    memory_.add_gradients(its, message.tensors);
    for (const int64_t id : its) --missing_sums_[static_cast<size_t>(id)];
    release_when_done(std::make_shared<TokenMessage>(message));
    send_reduced();  // before the last one lets norms into the lane
    heard_sums(Verb::gradients, message.id(), blocks);
  }
}

/// The ward gives its reduced gradients to its buddy too: prepared is what both hold (commit law).
/// What its own process has added there has been sent to the owner before, which these sums have in them. They are
/// rounded as an update rounds them, so both make the same of them. They go as soon as they are complete, while
/// others' are still on their way.
void OptimizerShardActor::send_reduced() {
  if (buddy_ < 0) return;
  for (; reduced_sent_ < messages_of(blocks_); ++reduced_sent_) {
    const std::span<const int64_t> its = blocks_of_message(blocks_, reduced_sent_);
    if (!std::ranges::all_of(its, [this](int64_t id) { return missing_sums_[static_cast<size_t>(id)] == 0; })) return;
    send_sums(buddy_, reduced_atom_v, reduced_sent_, memory_.rounded_gradients(its));
  }
}

void OptimizerShardActor::reduced(const TokenMessage& message) {
  if (!accept(message, Edge::reduced)) return;
  if (static_cast<int>(message.id().sender()) != ward_) {
    throw std::runtime_error(to_string(place()) + " holds no copies of the blocks of " +
                             to_string(shard(static_cast<int>(message.id().sender()))));
  }
  memory_.set_rounded_gradients(blocks_of_message(ward_blocks_, message.id().layer()), message.tensors);
  release_when_done(std::make_shared<TokenMessage>(message));
  heard_sums(Verb::reduced, message.id(), ward_blocks_);
}

/// A buddy makes its ward's weights itself.
bool OptimizerShardActor::gets_weights(const BlockEdge& edge) const {
  return company().placement.buddy(edge.owner) != edge.user;
}

std::set<int> OptimizerShardActor::senders_of_weights() const {
  std::set<int> owners;
  for (const BlockEdge& edge : owned_by_others_) {
    if (gets_weights(edge)) owners.insert(edge.owner);
  }
  return owners;
}

void OptimizerShardActor::send_weights_of(const BlockEdge& edge, const wire::StepRecord& record) {
  expect_to_send(edge.blocks, record.step());
  TokenMessage message{header_of(record.epoch(), record.step(), edge.owner),
                       memory_.weights(edge.blocks, record.step())};
  send_when_done(shard(edge.user), weights_atom_v, std::move(message));
}

/// In the place of a ward whose process is lost, too. Who is absent gets its weights otherwise.
void OptimizerShardActor::send_weights(const wire::StepRecord& record) {
  const auto lacks_all = [&](int index) {
    return is_absent(record, company().placement.process_of_shard(index));
  };
  for (const BlockEdge& edge : used_by_others_) {
    if (gets_weights(edge) && !lacks_all(edge.user)) send_weights_of(edge, record);
  }
  if (ward_ < 0 || !lacks_all(ward_)) return;
  for (const BlockEdge& edge : used_of_ward_) {
    if (!lacks_all(edge.user)) send_weights_of(edge, record);
  }
}

/// To the buddy, all of what it is to hold.
void OptimizerShardActor::send_copies(const wire::StepRecord& record) {
  if (buddy_ < 0) return;
  wire::TokenHeader header = *header_of(record.epoch(), record.step(), place().index);
  header.set_is_part(true);
  send_restored({place().index, buddy_, blocks_, {}}, record.step(), header);
}

void OptimizerShardActor::send_restored(const RestoreEdge& edge, uint64_t state,
                                        const wire::TokenHeader& header) {
  expect_to_send(edge.whole, state);
  expect_to_send(edge.weights, state);
  TokenMessage message{header, memory_.whole(edge.whole, state)};
  for (runtime::TensorRef& weights : memory_.weights(edge.weights, state)) {
    message.tensors.push_back(std::move(weights));
  }
  send_when_done(shard(edge.to), restored_atom_v, std::move(message));
}

void OptimizerShardActor::expect_to_send(const std::vector<int64_t>& blocks, uint64_t state) {
  expect_state(queue(), company().arena, company().arena.ranges(blocks), state, "send it to another process");
}

/// A process that takes a lost one's place gets its blocks, those that it holds copies of, and the
/// weights that it computes with. Where several have taken places, one of them owns some of these, which it
/// gets itself first: from its buddy, which has not been lost.
caf::result<void> OptimizerShardActor::restore(const Pb<wire::StepRecord>& record, int process) {
  const auto promise = promised(make_response_promise<void>());
  std::set<int> senders, own_copies;
  if (is_absent(*record, company().process)) own_copies.insert(buddy_);
  for (const RestoreEdge& edge : company().placement.edges_to_restore(process)) {
    if (edge.to == place().index) senders.insert(edge.from);
    if (edge.from != place().index) continue;
    wait_for({Verb::restored, record->step(), own_copies, [this, edge, record] {
                send_restored(edge, record->step(),
                              *header_of(record->epoch(), record->step(), place().index));
              }, record->epoch()});
  }
  const bool is_newcomer = !senders.empty();
  wait_for({Verb::restored, record->step(), std::move(senders), [this, promise, record, is_newcomer] {
              // Its weights have come with that: the commit, which it is told like everybody, waits for none.
              for (const BlockEdge& edge : owned_by_others_) {
                if (is_newcomer) heard(Verb::weights, record->step(), edge.owner);
              }
              when_done([promise] { promise->deliver(); });
            }, record->epoch()});
  return *promise;
}

void OptimizerShardActor::restored(const TokenMessage& message) {
  const uint64_t step = message.id().step();
  const auto sender = static_cast<int>(message.id().sender());
  // Copies that are handed out, or all that a new process lacks.
  const std::vector<RestoreEdge> edges =
      message.header->is_part()
          ? std::vector<RestoreEdge>{{ward_, place().index, ward_blocks_, {}}}
          : company().placement.edges_to_restore(company().process);
  for (const RestoreEdge& edge : edges) {
    if (edge.to != place().index || edge.from != sender) continue;
    const auto end_of_whole = message.tensors.begin() +
                              static_cast<std::ptrdiff_t>(std::min(memory_.whole_tensors(edge.whole), message.tensors.size()));
    memory_.set_whole(edge.whole, step, {message.tensors.begin(), end_of_whole});
    memory_.set_weights(edge.weights, step, {end_of_whole, message.tensors.end()}, ShardMemory::Taken::anyway);
  }
  release_when_done(std::make_shared<TokenMessage>(message));
  when_done([this, step, sender, epoch = message.id().epoch()] {
    heard(Verb::restored, step, sender, epoch);
  });
}

template <class Atom>
void OptimizerShardActor::send_states(const std::vector<BlockEdge>& edges, Atom atom,
                                      const wire::StepRecord& record) {
  for (const BlockEdge& edge : edges) {
    TokenMessage message{header_of(record.epoch(), record.step(), place().index), {}};
    for (const int64_t id : edge.blocks) {
      for (const kernels::Tensor& part : company().arena.block(id, record.step()).parts()) {
        if (part.count() > 0) message.tensors.push_back({part, nullptr});  // the arena outlives its company's messages
      }
    }
    expect_to_send(edge.blocks, record.step());
    send_when_done(shard(edge.user == place().index ? edge.owner : edge.user), atom,
                   std::move(message));
  }
}

/// Into the state. A message that was overtaken by a newer one is dropped: what it would write over is that
/// one's.
void OptimizerShardActor::weights(const TokenMessage& message) {
  memory_.set_weights(edge_from(message, owned_by_others_).blocks, message.id().step(), message.tensors);
  take_when_done(message, Verb::weights);
}

/// Whole blocks, on the host. Weights may be there already.
void OptimizerShardActor::state(const TokenMessage& message) {
  runtime::StateArena& arena = company().arena;
  const uint64_t step = message.id().step();
  const BlockEdge& edge = edge_from(message, company().is_first() ? from_others_ : to_first_);
  size_t next = 0;
  for (const int64_t id : edge.blocks) {
    const auto parts = arena.block(id, step).parts();  // with weights that a GPU has got, before the rest is written
    const uint64_t stands_at = arena.stamp(id, step);
    for (size_t part = 0; part < parts.size(); ++part) {
      if (parts[part].count() == 0) continue;
      const runtime::TensorRef& from = message.tensors.at(next++);
      const bool is_there = part == 0 && stands_at >= std::max<uint64_t>(step, 1);
      if (!is_there && stands_at <= step) memory_.copy_on_host(from, parts[part]);
    }
  }
  queue().run(1, [&arena, blocks = edge.blocks, step](int64_t) {
    for (const int64_t id : blocks) {
      if (arena.stamp(id, step) <= step) arena.set_stamp(id, step);
    }
  });
  take_when_done(message, Verb::state);
}

void OptimizerShardActor::take_when_done(const TokenMessage& message, Verb verb) {
  release_when_done(std::make_shared<TokenMessage>(message));
  const auto sender = static_cast<int>(message.id().sender());
  when_done([this, verb, step = message.id().step(), sender] { heard(verb, step, sender); });
}

void OptimizerShardActor::wait_for(Waiting waiting) {
  std::erase_if(waiting.senders, [&](int sender) {
    return taken_.contains(taken(waiting.verb, waiting.step, sender, waiting.epoch));
  });
  if (waiting.senders.empty()) return waiting.then();
  waits_for("blocks of others", waiting.senders.size());
  waiting_.push_back(std::move(waiting));
}

void OptimizerShardActor::heard(Verb verb, uint64_t step, int sender, const wire::Epoch& epoch) {
  taken_.insert(taken(verb, step, sender, epoch));
  std::erase_if(taken_, [step](const auto& one) { return std::get<1>(one) + 4 < step; });
  std::vector<std::function<void()>> complete;
  std::erase_if(waiting_, [&](Waiting& waiting) {
    const bool is_of_it = taken(waiting.verb, waiting.step, sender, waiting.epoch) ==
                          taken(verb, step, sender, epoch);
    if (!is_of_it) return false;
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
              send_copies(*record);
              wait_for({Verb::weights, record->step(), senders_of_weights(), [this, answer, record] {
                          std::set<int> ward;
                          if (ward_ >= 0) ward.insert(ward_);
                          wait_for({Verb::restored, record->step(), std::move(ward),
                                    [this, answer] { when_done(answer); }, record->epoch()});
                        }});
            }});
  return *promise;
}

}  // namespace troupe::actors
