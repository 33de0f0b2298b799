// Absorbed attention: a block takes 64 rows (queries of a head) of a sequence and a split of its
// keys, 64 at a time, which two warps bring by TMA. Each of two warpgroups has half of the output's
// columns, as all of them are too many for one's registers; even tiles' scores and probabilities
// are made by one, odd ones' by the other, and handed over in shared memory. So the products of one
// are under way while the other makes probabilities. Halves of a tile's columns are freed and
// filled apart, as a warpgroup needs but one as values.
#pragma once

#include "kernels/cuda/attention/attention_decode_items.cuh"
#include "kernels/cuda/attention/attention_softmax.cuh"
#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/sm90/tma.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace troupe::kernels::cuda {

/// What a warpgroup keeps of an item and does with it. `kOwn` is the parity of the tiles whose
/// scores it makes, and the half of the columns that it has.
template <int kOwn, bool kShared>
class DecodeWarpgroup {
  using Memory = AttentionDecodeMemory;

 public:
  __device__ DecodeWarpgroup(const AttentionDecodeTiles& args, uint32_t base)
      : args_(args),
        base_(base),
        lane_(threadIdx.x % 32),
        line_(16 * (threadIdx.x / 32 % 4) + lane_ / 4) {}

  /// The queries are there.
  __device__ void run(const DecodeItem& item) {
    const int row = item.first_row + line_;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      seen_[h] = min(item.keys, item.keys - args_.tokens + (row + 8 * h) / args_.heads + 1);
    }
    softmax_ = RunningSoftmax{};
#pragma unroll
    for (int i = 0; i < 128; ++i) o_[i] = 0;
    load_rotated();
    meet();  // before probabilities take their place
    const int pairs = item.tiles / 2;
    if constexpr (kOwn == 0) {
      for (int pair = 0; pair < pairs; ++pair) {
        make_even(item, 2 * pair);
        begin_own();
        receive();
        end_own();
        begin_received();
        end_received();
      }
      if (item.tiles % 2 != 0) {
        make_even(item, item.tiles - 1);
        begin_own();
        end_own();
      }
    } else {
      for (int pair = 0; pair < pairs; ++pair) {
        begin_scores(item, 2 * pair + 1);
        receive();
        begin_received();
        wait_products<1>();
        make_probabilities(item, 2 * pair + 1);
        end_received();
        begin_own();
        end_own();
      }
      if (item.tiles % 2 != 0) {
        receive();
        begin_received();
        end_received();
      }
    }
    if (item.tiles <= kOwn) arrive_at_own(Memory::q_empty);  // there were no own scores
    finish(item);
  }

 private:
  __device__ uint32_t tile(int parity) const {
    return base_ + Memory::keys + parity * Memory::all_bytes;
  }
  __device__ static constexpr int probabilities(int parity) {
    return parity == 0 ? Memory::first_even : Memory::first_odd;
  }
  /// Every lane for itself, so that what it has read or written lies behind it without a meeting of its warp.
  __device__ void arrive_at_own(uint32_t barrier) const { arrive(base_ + barrier); }
  /// Both warpgroups meet, at a barrier in memory: they come from code of their own, and what looks for races takes two
  /// bar.sync instructions for two barriers.
  __device__ void meet() {
    arrive_at_own(Memory::met);
    wait_barrier(base_ + Memory::met, met_parity_);
    met_parity_ ^= 1;
  }
  /// The own half of a tile's columns is free again, for whoever fills it.
  __device__ void release(int parity) const {
    const uint32_t barrier = base_ + Memory::empty + 8 * (2 * parity + kOwn);
    if constexpr (kShared) {
      if (lane_ < 2) arrive_at(barrier, lane_);
    } else {
      if (lane_ == 0) arrive(barrier);
    }
  }

  /// Columns 512 to 575 of the queries, as products take them from registers.
  __device__ void load_rotated() {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int r = line_ + 8 * (i % 2), chunk = i / 2;
      rotated_[i] = load_shared_word(base_ + Memory::first_odd + r * 128 +
                                     ((chunk ^ (r % 8)) * 16) + 4 * (lane_ % 4));
    }
  }

  /// Scores of an own tile, under way.
  __device__ void begin_scores(const DecodeItem& item, int i) {
    const uint32_t keys = tile(kOwn);
    wait_barrier(base_ + Memory::full + 8 * (2 * kOwn), parity_);
    wait_barrier(base_ + Memory::full + 8 * (2 * kOwn + 1), parity_);
    const int last = item.keys - (item.first_tile + i) * decode_keys;
    if (last < decode_keys) {
      zero_rows(keys, 8, Memory::panel_bytes, last, decode_keys, threadIdx.x % 128, 128);
      meet_threads(2 + kOwn, 128);
    }
    const uint64_t q = inner_tile(base_ + Memory::q), k = inner_tile(keys);
    begin_products();
    ProductBf16<64, false, false>::set(s_, q, k);
#pragma unroll
    for (int step = 1; step < 32; ++step) {
      const int at = step / 4 * (Memory::panel_bytes / 16) + step % 4 * 2;
      ProductBf16<64, false, false>::add(s_, q + at, k + at, true);
    }
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      ProductBf16OfRegisters<64, false>::add(s_, rotated_ + 4 * step,
                                             k + 8 * (Memory::panel_bytes / 16) + 2 * step, true);
    }
    commit_products();
  }

  /// Probabilities of the tile whose scores are made; hands them over.
  __device__ void make_probabilities(const DecodeItem& item, int i) {
    pin(s_);
    const int key = (item.first_tile + i) * decode_keys;
    if (key + decode_keys > item.keys - args_.tokens + 1) {
      softmax_.take<true>(s_, args_.scale_log2, key + 2 * (lane_ % 4), seen_, own_fixed_);
    } else {
      softmax_.take<false>(s_, args_.scale_log2, key + 2 * (lane_ % 4), seen_, own_fixed_);
    }
    wait_barrier(base_ + Memory::used + 8 * kOwn, parity_ ^ 1);
    const uint32_t to = base_ + probabilities(kOwn);
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      p_[k] = bf16_pair(s_[2 * k], s_[2 * k + 1]);
      const int r = line_ + 8 * (k % 2);
      store_shared_word(to + r * 128 + ((k / 2 ^ (r % 8)) * 16) + 4 * (lane_ % 4), p_[k]);
    }
    if (lane_ % 4 == 0) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t at = 4 * (64 * kOwn + line_ + 8 * h);
        store_shared_word(base_ + Memory::tops + at, __float_as_uint(softmax_.top[h]));
        store_shared_word(base_ + Memory::fixed + at, __float_as_uint(own_fixed_[h]));
      }
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    arrive_at_own(Memory::made + 8 * kOwn);
    if (i + 2 >= item.tiles) arrive_at_own(Memory::q_empty);  // the last own scores
  }
  __device__ void make_even(const DecodeItem& item, int i) {
    begin_scores(item, i);
    wait_products<0>();
    make_probabilities(item, i);
  }

  /// Maximum and factor of the other's tile.
  __device__ void receive() {
    constexpr int other = 1 - kOwn;
    wait_barrier(base_ + Memory::full + 8 * (2 * other + kOwn), other_parity_);
    wait_barrier(base_ + Memory::made + 8 * other, other_parity_);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t at = 4 * (64 * other + line_ + 8 * h);
      softmax_.top[h] = load_shared(base_ + Memory::tops + at);
      other_fixed_[h] = load_shared(base_ + Memory::fixed + at);
      softmax_.sum[h] = __fmul_rn(softmax_.sum[h], other_fixed_[h]);
    }
  }

  __device__ void scale_output(const float (&fixed)[2]) {
    if (__any_sync(~0u, fixed[0] != 1 || fixed[1] != 1)) {
#pragma unroll
      for (int i = 0; i < 128; ++i) o_[i] = __fmul_rn(o_[i], fixed[i / 2 % 2]);
    }
  }
  __device__ uint64_t values(int parity) const {
    return outer_tile(tile(parity) + 4 * kOwn * Memory::panel_bytes, Memory::panel_bytes);
  }

  /// Adds an own tile's values: under way, and done.
  __device__ void begin_own() {
    scale_output(own_fixed_);
    const uint64_t v = values(kOwn);
    pin(o_);
    begin_products();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      ProductBf16OfRegisters<256, true>::add(o_, p_ + 4 * step, v + 128 * step, true);
    }
    commit_products();
  }
  __device__ void end_own() {
    wait_products<0>();
    pin(o_);
    release(kOwn);
    parity_ ^= 1;
  }
  /// The same of the other's tile.
  __device__ void begin_received() {
    constexpr int other = 1 - kOwn;
    scale_output(other_fixed_);
    const uint64_t p = inner_tile(base_ + probabilities(other)), v = values(other);
    pin(o_);
    begin_products();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      ProductBf16<256, false, true>::add(o_, p + 2 * step, v + 128 * step, true);
    }
    commit_products();
  }
  __device__ void end_received() {
    constexpr int other = 1 - kOwn;
    wait_products<0>();
    pin(o_);
    release(other);
    arrive_at_own(Memory::used + 8 * other);
    other_parity_ ^= 1;
  }

  /// Both warpgroups' sums make the row's; writes the own half of the columns.
  __device__ void finish(const DecodeItem& item) {
    arrive_at_own(Memory::rotated_empty);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float sum = softmax_.sum_of_row(h);
      if (lane_ % 4 == 0) {
        store_shared_word(base_ + Memory::sums + 4 * (64 * kOwn + line_ + 8 * h),
                          __float_as_uint(sum));
      }
    }
    meet();
    const int rows = args_.tokens * args_.heads;
    float inverse[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t at = base_ + Memory::sums + 4 * (line_ + 8 * h);
      const float sum = __fadd_rn(load_shared(at), load_shared(at + 4 * 64));
      const float log_sum = softmax_.finish(h, sum, args_.scale_log2, inverse[h]);
      const int r = item.first_row + line_ + 8 * h;
      if (kOwn == 0 && lane_ % 4 == 0 && r < rows) {
        if (item.splits == 1) {
          args_.log_sums[item.sequence * rows + r] = __fmul_rn(log_sum, ln_2);
        } else {
          args_
              .part_log_sums[(int64_t{item.sequence} * args_.most_splits + item.split) * rows + r] =
              log_sum;
        }
      }
    }
    meet();  // the sums' place is free again
#pragma unroll
    for (int i = 0; i < 128; ++i) o_[i] = __fmul_rn(o_[i], inverse[i / 2 % 2]);
    if (item.splits == 1) {
      store_bf16<256>(o_, args_.o + int64_t{item.sequence} * rows * 512, item.first_row, rows,
                      decode_columns * kOwn, 512);
    } else {
      store_f32<256>(
          o_, args_.parts + (int64_t{item.sequence} * args_.most_splits + item.split) * rows * 512,
          {512, item.first_row, rows, decode_columns * kOwn, 512});
    }
  }

  const AttentionDecodeTiles& args_;
  uint32_t base_;
  int lane_, line_;
  uint32_t parity_ = 0, other_parity_ = 0;  ///< of the next own tile, and of the other's
  uint32_t met_parity_ = 0;
  int seen_[2];
  RunningSoftmax softmax_;
  float own_fixed_[2], other_fixed_[2];
  uint32_t rotated_[16], p_[16];
  float s_[32], o_[128];
};

/// Shared: the blocks of a cluster of two have neighbouring rows of the same sequence and split.
template <bool kShared>
__global__ void __launch_bounds__(384, 1)
    attention_decode_tiles(const __grid_constant__ CUtensorMap q_map,
                           const __grid_constant__ CUtensorMap cache_map,
                           const __grid_constant__ AttentionDecodeTiles args) {
  using Memory = AttentionDecodeMemory;
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = shared_address(memory);
  if (threadIdx.x == 0) {
    init_barrier(base + Memory::q_full, 2);
    init_barrier(base + Memory::q_empty, 256);
    init_barrier(base + Memory::rotated_empty, 256);
    init_barrier(base + Memory::met, 256);
    for (int i = 0; i < 4; ++i) {
      init_barrier(base + Memory::full + 8 * i, 1);
      init_barrier(base + Memory::empty + 8 * i, kShared ? 8 : 4);
    }
    for (int i = 0; i < 2; ++i) {
      init_barrier(base + Memory::made + 8 * i, 128);
      init_barrier(base + Memory::used + 8 * i, 128);
    }
    publish_barriers();
  }
  if constexpr (kShared) {
    meet_cluster();
  } else {
    __syncthreads();
  }
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  auto* shared_item = reinterpret_cast<DecodeItem*>(memory + Memory::item);

  if (warp >= 8) {
    release_registers<24>();
    if (warp < 10) copy_for_decode<kShared>(args, &q_map, &cache_map, base, warp - 8, shared_item);
  } else {
    take_registers<240>();
    const auto work = [&](auto&& warpgroup) {
      for (uint32_t q_parity = 0;; q_parity ^= 1) {
        wait_barrier(base + Memory::q_full, q_parity);
        const DecodeItem item = *shared_item;
        if (item.splits == 0) break;
        warpgroup.run(item);
      }
    };
    if (warp < 4) {
      work(DecodeWarpgroup<0, kShared>(args, base));
    } else {
      work(DecodeWarpgroup<1, kShared>(args, base));
    }
  }
  if constexpr (kShared) meet_cluster();  // nobody leaves while the other may still write here
}

}  // namespace troupe::kernels::cuda
