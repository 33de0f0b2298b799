// The state of a run in this process: weights, moments, their EMA and fixed-point gradients of every
// trained tensor, cut into blocks. State lives here and not in actors, so an actor's death loses none.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/layers/gradient.h"
#include "kernels/layers/params.h"

namespace troupe::runtime {

class GpuMirror;
struct BlockRange;

class StateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// At most this many elements of one tensor: the unit of optimizer shards, norm partials and
/// hashes. Part of the hash's definition.
constexpr int64_t block_elements = 65'536;

struct Block {
  int tensor;
  int64_t index;  ///< within the tensor
  int64_t first;  ///< first element
  int64_t count;
};

/// What a state is made of besides f32 weights.
struct StateFormat {
  kernels::DType moments = kernels::DType::f32;  ///< or bf16
  bool has_ema = false;                          ///< of the weights, f32

  bool operator==(const StateFormat&) const = default;
};

/// "f32 moments", "bf16 moments and an EMA".
std::string describe(const StateFormat& format);

/// Bytes that a block has in a hash and in a file, per element.
int64_t stored_bytes_per_parameter(const StateFormat& format);

/// Bytes of memory: two versions of that, and the gradient.
int64_t bytes_per_parameter(const StateFormat& format);

/// One version of a block: views into the tensor's memory.
struct BlockState {
  kernels::Tensor weight;            // [count] f32
  kernels::Tensor moment1, moment2;  // [count] f32 or bf16
  kernels::Tensor ema;               // [count] f32, or no data

  /// In the order of hashes and files. What a state lacks has no elements.
  std::array<kernels::Tensor, 4> parts() const { return {weight, moment1, moment2, ema}; }
};

/// What a process is going to write of a block, on the host.
struct BlockUse {
  bool weights = false;   ///< both versions
  bool moments = false;   ///< and the EMA, likewise
  bool gradient = false;

  static BlockUse all(int64_t) { return {true, true, true}; }
};

/// State N is what holds after step N. Two versions of everything stand side by side, state N at
/// N mod 2: an apply reads one and writes the other, so an interrupted one starts again at the
/// first block whose stamp is not N (commit law).
/// The state stands in the host's memory, also when the GPU computes: then it has a mirror there,
/// which may be ahead.
class StateArena {
 public:
  explicit StateArena(std::vector<kernels::ParameterSpec> specs, StateFormat format = {});
  ~StateArena();

  /// Before it is written: what fills a huge page (huge_pages.h) gets one. What is written already keeps its pages.
  void expect(const std::function<BlockUse(int64_t id)>& use);

  const StateFormat& format() const { return format_; }

  int tensors() const { return static_cast<int>(specs_.size()); }
  const kernels::ParameterSpec& spec(int tensor) const { return specs_[static_cast<size_t>(tensor)]; }
  /// Throws StateError if no tensor has that name.
  int index(std::string_view name) const;
  bool has(std::string_view name) const { return by_name_.contains(std::string(name)); }

  /// On the host: what the GPU has made since is copied when it is asked for, as of `ema` and
  /// `block`. Not while the state is made.
  kernels::ConstTensor weight(int tensor, uint64_t state) const;
  kernels::Tensor mutable_weight(int tensor, uint64_t state);
  /// Throws StateError if the state has none.
  kernels::ConstTensor ema(int tensor, uint64_t state) const;
  /// The EMA begins at the weights of state 0, whoever has filled them. Without one nothing is done.
  void begin_ema(const std::function<bool(int tensor)>& wanted = {});

  /// Sorted by (tensor's name, index); a block's number in here is its id.
  const std::vector<Block>& blocks() const { return blocks_; }
  BlockState block(int64_t id, uint64_t state);
  /// What stands on the host, however old.
  kernels::ConstTensor host_weight(int tensor, uint64_t state) const;
  BlockState host_block(int64_t id, uint64_t state) const;
  /// What is cleared, and nothing has been added to since, is zeroed by then: not while a clearing of it is enqueued.
  /// A view says nothing of a later clearing: ask again.
  kernels::ConstTensor block_gradient(int64_t id) const;
  kernels::Tensor mutable_block_gradient(int64_t id);
  /// The same of neighbours, as one vector; and what stands of them on the host, however old.
  kernels::Tensor range_gradient(const BlockRange& range);
  std::array<kernels::Tensor, 4> host_parts(const BlockRange& range, uint64_t state) const;
  /// All of a tensor's, [its shape] i64. Not of the GPU, unless it was fetched.
  kernels::ConstTensor tensor_gradient(int tensor) const;

  /// The state whose values stand in the version that `state` uses.
  uint64_t stamp(int64_t id, uint64_t state) const;
  /// How many of a range's blocks have it.
  int64_t blocks_at(const BlockRange& range, uint64_t state) const;
  /// The host has written the block's state.
  void set_stamp(int64_t id, uint64_t state);
  /// Nothing stands in it, as when it was made. Not while anybody computes.
  void forget();
  /// The GPU has.
  void set_stamp_of_gpu(const BlockRange& range, uint64_t state);
  /// The GPU has got the blocks, or their weights alone, which others have made.
  void set_stamp_of_received(const BlockRange& range, uint64_t state);

  /// Blocks as ranges of neighbours, each of one tensor; ids ascend.
  std::vector<BlockRange> ranges(std::span<const int64_t> ids) const;

  /// Keeps a mirror on the GPU from now on. Before anything is enqueued.
  void open_mirror();
  /// Null without one.
  GpuMirror* mirror() const { return mirror_.get(); }
  /// Enqueues that the gradients of blocks are those that units have been added to on the GPU: behind
  /// all units of the step, in a queue of the host. Without a mirror they stand here already.
  void fetch_gradients(kernels::Queue& queue, std::span<const int64_t> blocks);
  void fetch_gradients(kernels::Queue& queue);  ///< of all blocks

  /// Where units of the step add `tensor`'s gradient, to be read by `block_gradient`. `units` is how many there are.
  kernels::GradientSum gradient(int tensor, int scale_bits, int64_t units);
  /// Clears the gradients of blocks, and all faults: a step, or an epoch of it, begins. In a queue on
  /// the GPU those there alone. On the host no memory is written: the first unit is stored where it finds a
  /// part cleared.
  void clear_gradients(kernels::Queue& queue, std::span<const int64_t> blocks);
  void clear_gradients(kernels::Queue& queue);  ///< of all blocks
  /// The same in a queue on the GPU.
  void clear_ranges(kernels::Queue& queue, std::span<const BlockRange> ranges);
  uint32_t faults() const;

  int64_t parameter_count() const;
  /// Bytes of both versions and the gradients.
  int64_t bytes() const { return parameter_count() * bytes_per_parameter(format_); }

 private:
  struct Storage {
    kernels::Buffer weight[2], moment1[2], moment2[2], ema[2], gradient;
    std::unique_ptr<kernels::FixedPointLocks> locks;
  };

  /// Calls `f(part, first, elements)` under the lock of each part of a block's gradient.
  template <class F>
  void for_parts(const Block& block, const F& f) const;
  kernels::Tensor zeroed_where_cleared(const Block& block) const;
  /// Copies what the GPU has newer of the tensor.
  void see(int tensor, uint64_t state) const;

  std::vector<kernels::ParameterSpec> specs_;
  StateFormat format_;
  std::unordered_map<std::string, int> by_name_;
  std::vector<Storage> storage_;
  std::vector<Block> blocks_;
  struct Blocks {
    int64_t first, count;
  };
  std::vector<Blocks> blocks_of_;  // by tensor
  std::vector<std::atomic<uint64_t>> stamps_[2];
  std::atomic<uint32_t> faults_{0};
  std::unique_ptr<GpuMirror> mirror_;
};

/// Fills state 0 from the seed (law 5: by tensor name and element), its EMA with the same values. Of
/// the tensors for which `wanted` is true; all if it is empty.
void initialise(StateArena& arena, uint64_t seed, float std,
                const std::function<bool(int tensor)>& wanted = {});

}  // namespace troupe::runtime
