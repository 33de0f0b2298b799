// Windows, and what both calls ask of their sizes.
#include <algorithm>

#include "kernels/cuda/exchange/exchange_launch.h"

namespace troupe::kernels::cuda {
namespace {

void expect_within(const char* what, int64_t found, int64_t least, int64_t most) {
  if (found >= least && found <= most) return;
  throw KernelError(std::string(what) + " is " + std::to_string(found) + ", wanted " + std::to_string(least) +
                    " to " + std::to_string(most));
}

void expect_sound(const ExchangeShape& x) {
  expect_within("exchange ranks", x.ranks, 1, most_exchange_ranks);
  expect_within("exchange tokens", x.tokens, 1, int64_t{1} << 24);
  expect_multiple("exchange slots", x.slots, 4);
  expect_within("exchange slots", x.slots, 4, most_exchange_slots);
  expect_multiple("exchange groups", x.groups, x.ranks);
  expect_multiple("exchange experts", x.experts, x.groups);
  expect_within("exchange kept_groups", x.kept_groups, 1, x.groups);
  expect_multiple("exchange columns", x.columns, 8);
  expect_within("exchange columns", x.columns, 8, 8 << 10);
  expect_multiple("exchange row_bytes", x.row_bytes, 16);
  expect_within("exchange row_bytes", x.row_bytes, 16, 12 << 10);  // a warp has two stages of them
  expect_within("exchange scale_bytes", x.scale_bytes, 0, 1 << 10);
  if (x.scale_bytes > 0) expect_multiple("exchange scale_bytes", x.scale_bytes, 16);
}

/// Hands out parts of a window, one behind the other.
class Layout {
 public:
  explicit Layout(void* memory) : memory_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(int64_t count) {
    char* const at = memory_ + bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + 255) / 256 * 256;
    return reinterpret_cast<T*>(at);
  }
  size_t bytes() const { return bytes_; }

 private:
  char* memory_;
  size_t bytes_ = 0;
};

ExchangeWindow lay_out(const ExchangeShape& x, Layout& layout) {
  expect_sound(x);
  const int64_t slots = x.tokens * x.slots;
  ExchangeWindow window{};
  window.plan_ready = layout.take<uint64_t>(x.ranks);
  const int64_t chunks = x.ranks * chunks_of(x);
  window.sums_come = layout.take<uint32_t>(chunks);
  window.rows_come = layout.take<uint32_t>(chunks);
  window.sums_made = layout.take<uint32_t>(chunks);
  window.blocks_done = layout.take<uint32_t>(1);
  window.tables.ids = layout.take<int32_t>(slots);
  window.tables.weights = layout.take<float>(slots);
  window.tables.rows = layout.take<int32_t>(slots);
  window.offsets = layout.take<int32_t>(x.experts + x.ranks);
  window.payload = layout.take<char>(x.tokens * x.row_bytes);
  window.scales = layout.take<char>(x.tokens * x.scale_bytes);
  window.sums = layout.take<uint16_t>(x.tokens * x.kept_groups * x.columns);
  window.made = layout.take<uint16_t>(x.ranks > 1 ? x.ranks * x.tokens * x.kept_groups * x.columns : 0);
  return window;
}

}  // namespace

size_t exchange_window_bytes(const ExchangeShape& shape) {
  Layout layout(nullptr);
  lay_out(shape, layout);
  return layout.bytes();
}

ExchangeWindow exchange_window(const ExchangeShape& shape, void* memory) {
  Layout layout(memory);
  return lay_out(shape, layout);
}

void expect_sound(const ExchangeCall& call) {
  const ExchangeShape& x = call.shape;
  expect_sound(x);
  expect_within("exchange rank", call.rank, 0, x.ranks - 1);
  expect_within("exchange tokens of the rank", call.tokens, 0, x.tokens);
  expect_within("exchange generation", call.generation, 1, ~uint32_t{0});
  expect_within("exchange local_blocks", call.local_blocks, 1, multiprocessors);
  expect_within("exchange remote_blocks", call.remote_blocks, x.ranks > 1 ? 1 : 0, x.ranks > 1 ? multiprocessors : 0);
  if (x.ranks > 1) expect_multiple("exchange remote_blocks", call.remote_blocks, x.ranks - 1);
  expect_within("exchange blocks", call.remote_blocks + call.local_blocks, 1, multiprocessors);
}

}  // namespace troupe::kernels::cuda
