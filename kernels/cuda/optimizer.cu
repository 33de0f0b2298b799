#include "kernels/ops/optimizer.h"

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {
namespace {

/// Fixed-point gradients as f32: the integer rounded to f64, times 2^-s (exact), rounded to f32.
__device__ float gradient_of(int64_t sum, double unit) {
  return __double2float_rn(__ll2double_rn(sum) * unit);
}

struct GradientBlock {
  const int64_t* data;
  int64_t count;
};

/// Lane i of 8 takes elements i, i + 8, ...; the same tree as the CPU's. Four blocks a warp.
__device__ void add_squares(const GradientBlock& block, double unit, double* out) {
  constexpr int ahead = 16;  // loads that are under way at a time
  const int lane = static_cast<int>(threadIdx.x % 8);
  double sum = 0.0;
  int64_t i = lane;
  const auto add = [&](int64_t integer) {
    const double g = static_cast<double>(gradient_of(integer, unit));
    sum = __fma_rn(g, g, sum);
  };
  for (; i + 8 * (ahead - 1) < block.count; i += 8 * ahead) {
    int64_t integers[ahead];
#pragma unroll
    for (int k = 0; k < ahead; ++k) integers[k] = block.data[i + 8 * k];
#pragma unroll
    for (int k = 0; k < ahead; ++k) add(integers[k]);
  }
  // The CPU adds zeros up to a multiple of 16: squares are not -0, so they change nothing.
  for (; i < block.count; i += 8) add(block.data[i]);
  for (int width = 4; width > 0; width /= 2) {
    sum = __dadd_rn(sum, __shfl_down_sync(0xffffffffu, sum, width, 8));
  }
  if (lane == 0) *out = sum;
}

__global__ void squared_norm_kernel(GradientBlock block, double unit, double* out) {
  double others = 0.0;  // of groups of 8 threads that only keep the warp whole
  add_squares({block.data, threadIdx.x < 8 ? block.count : 0}, unit,
              threadIdx.x < 8 ? out : &others);
}

/// Blocks one behind the other.
struct GradientBlocks {
  const int64_t* data;
  int64_t count;
  int64_t first;  ///< blocks of those before
};

/// The last of `count` items that begins at or before `at`.
template <class Item, class First>
__device__ int item_at(const Item* items, int count, int64_t at, First first_of) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (first_of(items[middle]) <= at ? low : high) = middle;
  }
  return low;
}

__global__ void squared_norms_kernel(const GradientBlocks* ranges, int count, int64_t blocks, int64_t block,
                                     double unit, double* out) {
  const int64_t at = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 8;
  GradientBlock its{nullptr, 0};
  double others = 0.0;
  if (at < blocks) {
    const GradientBlocks& range =
        ranges[item_at(ranges, count, at, [](const GradientBlocks& r) { return r.first; })];
    const int64_t first = (at - range.first) * block;
    its = {range.data + first, min(block, range.count - first)};
  }
  add_squares(its, unit, at < blocks ? out + at : &others);
}

__device__ float load(const float* p) { return *p; }
__device__ float load(const uint16_t* p) {
  return __uint_as_float(static_cast<uint32_t>(*p) << 16);
}
__device__ void store(float* p, float value) { *p = value; }
__device__ void store(uint16_t* p, float value) {  // nearest even; NaN stays NaN
  const uint32_t all = __float_as_uint(value);
  const bool is_nan = value != value;
  *p = static_cast<uint16_t>((is_nan ? all | 0x00400000u : all + 0x7fffu + (all >> 16 & 1u)) >> 16);
}

/// Four neighbours, of which a thread has all.
struct alignas(16) Integers {
  int64_t v[4];
};
struct alignas(16) Floats {
  float v[4];
};
struct alignas(8) Halves {
  uint16_t v[4];
};
template <class T>
using Four = std::conditional_t<sizeof(T) == 8, Integers,
                                std::conditional_t<sizeof(T) == 4, Floats, Halves>>;

template <class Moment>
struct AdamWPlaces {
  const int64_t* gradient;
  const float* weight;
  const Moment *moment1, *moment2;
  float* new_weight;
  Moment *new_moment1, *new_moment2;
  uint16_t* new_bf16;
};

struct AdamWRule {
  AdamWStep step;
  double unit;
  float rest1, rest2, minus_rate;
};

/// One of the blocks that are updated together.
template <class Moment>
struct AdamWBlock {
  AdamWPlaces<Moment> places;
  int64_t count;
  int64_t first_part;  ///< parts of the blocks before
  float minus_decay;
  bool is_aligned;
};

/// The order of cpu/optimizer.cpp.
template <class Moment>
__device__ void update_one(const AdamWRule& r, float minus_decay, int64_t integer, float& w,
                           Moment& moment1, Moment& moment2) {
  const float g = __fmul_rn(r.step.clip, gradient_of(integer, r.unit));
  const float m = __fmaf_rn(r.step.beta1, load(&moment1), __fmul_rn(r.rest1, g));
  const float v = __fmaf_rn(r.step.beta2, load(&moment2), __fmul_rn(__fmul_rn(r.rest2, g), g));
  const float root = __fsqrt_rn(__fdiv_rn(v, r.step.correction2));
  const float update = __fdiv_rn(__fdiv_rn(m, r.step.correction1), __fadd_rn(root, r.step.eps));
  store(&moment1, m);
  store(&moment2, v);
  w = __fmaf_rn(r.minus_rate, update, __fmaf_rn(minus_decay, w, w));
}

constexpr int64_t part_elements = 16384;

/// A part of a block: which one is looked up.
template <class Moment>
__global__ void __launch_bounds__(256)
    adamw_kernel(const AdamWBlock<Moment>* blocks, int count, AdamWRule rule) {
  const AdamWBlock<Moment>& block =
      blocks[item_at(blocks, count, blockIdx.x, [](const AdamWBlock<Moment>& b) { return b.first_part; })];
  const AdamWPlaces<Moment> p = block.places;
  const float minus_decay = block.minus_decay;
  const bool is_aligned = block.is_aligned;
  const int64_t first = (blockIdx.x - block.first_part) * part_elements;
  const int64_t end = min(first + part_elements, block.count);
  for (int64_t i = first + 4 * threadIdx.x; i < end; i += 4 * blockDim.x) {
    if (!is_aligned || i + 4 > end) {
      for (int64_t k = i; k < min(i + 4, end); ++k) {
        float w = p.weight[k];
        Moment m = p.moment1[k], v = p.moment2[k];
        update_one(rule, minus_decay, p.gradient[k], w, m, v);
        p.new_weight[k] = w;
        p.new_moment1[k] = m;
        p.new_moment2[k] = v;
        if (p.new_bf16) store(p.new_bf16 + k, w);
      }
      continue;
    }
    const auto g = *reinterpret_cast<const Integers*>(p.gradient + i);
    auto w = *reinterpret_cast<const Floats*>(p.weight + i);
    auto m = *reinterpret_cast<const Four<Moment>*>(p.moment1 + i);
    auto v = *reinterpret_cast<const Four<Moment>*>(p.moment2 + i);
    Halves narrow;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      update_one(rule, minus_decay, g.v[k], w.v[k], m.v[k], v.v[k]);
      store(&narrow.v[k], w.v[k]);
    }
    *reinterpret_cast<Floats*>(p.new_weight + i) = w;
    *reinterpret_cast<Four<Moment>*>(p.new_moment1 + i) = m;
    *reinterpret_cast<Four<Moment>*>(p.new_moment2 + i) = v;
    if (p.new_bf16) *reinterpret_cast<Halves*>(p.new_bf16 + i) = narrow;
  }
}

template <class Moment>
AdamWPlaces<Moment> places_of(const AdamWArgs& args) {
  return {rows_of<int64_t>("adamw gradient", args.gradient).data,
          rows_of<float>("adamw weight", args.weight).data,
          rows_of<Moment>("adamw moment1", args.moment1).data,
          rows_of<Moment>("adamw moment2", args.moment2).data,
          rows_of<float>("adamw new_weight", args.new_weight).data,
          rows_of<Moment>("adamw new_moment1", args.new_moment1).data,
          rows_of<Moment>("adamw new_moment2", args.new_moment2).data,
          args.new_bf16.data ? rows_of<uint16_t>("adamw new_bf16", args.new_bf16).data : nullptr};
}

template <class Moment>
bool are_aligned(const AdamWPlaces<Moment>& p) {
  for (const void* pointer :
       {static_cast<const void*>(p.gradient), static_cast<const void*>(p.weight),
        static_cast<const void*>(p.moment1), static_cast<const void*>(p.moment2),
        static_cast<const void*>(p.new_weight), static_cast<const void*>(p.new_moment1),
        static_cast<const void*>(p.new_moment2), static_cast<const void*>(p.new_bf16)}) {
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) return false;
  }
  return true;
}

template <class Moment>
void adamw_of(Queue& queue, const std::vector<AdamWArgs>& blocks, double unit) {
  const AdamWStep step = blocks[0].step;
  const AdamWRule rule{step, unit, 1.0f - step.beta1, 1.0f - step.beta2, -step.learning_rate};
  std::vector<AdamWBlock<Moment>> table;
  int64_t parts = 0;
  for (const AdamWArgs& args : blocks) {
    const auto places = places_of<Moment>(args);
    const int64_t count = args.gradient.count();
    if (count == 0) continue;
    table.push_back({places, count, parts, -(step.learning_rate * args.weight_decay),
                     are_aligned(places)});
    parts += (count + part_elements - 1) / part_elements;
  }
  if (parts == 0) return;
  enqueue(queue, "adamw",
          [=, list = NearList<AdamWBlock<Moment>>(table),
           count = static_cast<int>(table.size())](CUstream_st* stream, Fault*) {
            adamw_kernel<<<static_cast<unsigned>(parts), 256, 0, stream>>>(list.bring(stream), count,
                                                                          rule);
          });
}

double unit_of(int scale_bits) { return 1.0 / static_cast<double>(uint64_t{1} << scale_bits); }

}  // namespace

/// `args.sum` is in memory that the GPU reaches.
void squared_norm(Queue& queue, const SquaredNormArgs& args) {
  const int64_t* const gradient = rows_of<int64_t>("squared_norm gradient", args.gradient).data;
  const int64_t count = args.gradient.count();
  const double unit = unit_of(args.scale_bits);
  enqueue(queue, "squared_norm", [=, sum = args.sum](CUstream_st* stream, Fault*) {
    squared_norm_kernel<<<1, 32, 0, stream>>>({gradient, count}, unit, sum);
  });
}

void squared_norms(Queue& queue, const SquaredNormsArgs& args) {
  std::vector<GradientBlocks> ranges;
  int64_t blocks = 0;
  for (const ConstTensor& g : args.gradients) {
    if (g.count() == 0) continue;
    ranges.push_back({rows_of<int64_t>("squared_norms gradient", g).data, g.count(), blocks});
    blocks += (g.count() + args.block - 1) / args.block;
  }
  if (blocks == 0) return;
  const double unit = unit_of(args.scale_bits);
  const auto count = static_cast<int>(ranges.size());
  enqueue(queue, "squared_norm",
          [=, list = NearList<GradientBlocks>(ranges), block = args.block,
           sums = args.sums](CUstream_st* stream, Fault*) {
            squared_norms_kernel<<<blocks_for(blocks, 16), 128, 0, stream>>>(list.bring(stream), count, blocks,
                                                                            block, unit, sums);
          });
}

void adamw_blocks(Queue& queue, const std::vector<AdamWArgs>& blocks) {
  const double unit = unit_of(blocks[0].scale_bits);
  if (blocks[0].moment1.dtype == DType::bf16) {
    adamw_of<uint16_t>(queue, blocks, unit);
  } else {
    adamw_of<float>(queue, blocks, unit);
  }
}

void update_ema(Queue& queue, const UpdateEmaArgs& args) {
  const float* const weight = rows_of<float>("update_ema weight", args.weight).data;
  const float* const ema = rows_of<float>("update_ema ema", args.ema).data;
  float* const new_ema = rows_of<float>("update_ema new_ema", args.new_ema).data;
  const float rate = args.rate;
  for_each(queue, "update_ema", args.weight.count(), [=] __device__(int64_t i) {
    new_ema[i] = __fmaf_rn(rate, __fsub_rn(weight[i], ema[i]), ema[i]);
  });
}

}  // namespace troupe::kernels::cuda
