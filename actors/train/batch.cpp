#include "actors/train/batch.h"

#include <algorithm>

namespace troupe::actors {
namespace {

using kernels::Buffer;
using kernels::DType;
using kernels::values;

int64_t targets_in(const MicroBatch& batch) {
  const int32_t* targets = values<int32_t>(batch.targets.view);
  return std::count_if(targets, targets + batch.targets.view.count(),
                       [](int32_t t) { return t >= 0; });
}

}  // namespace

MicroBatch mtp_batch(const MicroBatch& main, int64_t depth) {
  const int64_t B = main.sequences(), S = main.rows, kept = S - 1 - depth;
  MicroBatch out{kernels::allocate_shared(DType::i32, {B * kept}), kernels::allocate_shared(DType::i32, {B * kept}),
                 kept};
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t i = 0; i < kept; ++i) {
      const int64_t from = b * S + i + 1 + depth, to = b * kept + i;
      values<int32_t>(out.inputs.view)[to] = values<int32_t>(main.inputs.view)[from];
      values<int32_t>(out.targets.view)[to] = values<int32_t>(main.targets.view)[from];
    }
  }
  return out;
}

Buffer positions(int64_t sequences, int64_t rows) {
  Buffer out = kernels::allocate_shared(DType::i32, {sequences * rows});
  for (int64_t i = 0; i < sequences * rows; ++i) {
    values<int32_t>(out.view)[i] = static_cast<int32_t>(i % rows);
  }
  return out;
}

Denominators denominators(std::span<const MicroBatch> step, int64_t mtp_layers) {
  Denominators d;
  d.mtp.assign(static_cast<size_t>(mtp_layers), 0);
  for (const MicroBatch& batch : step) {
    d.main += targets_in(batch);
    d.sequences += batch.sequences();
    for (int64_t m = 0; m < mtp_layers; ++m) {
      d.mtp[static_cast<size_t>(m)] += targets_in(mtp_batch(batch, m));
    }
  }
  return d;
}

MicroBatch make_micro_batch(std::span<const int32_t> tokens, int64_t sequences) {
  const int64_t width = static_cast<int64_t>(tokens.size()) / sequences, S = width - 1;
  MicroBatch out{kernels::allocate_shared(DType::i32, {sequences * S}),
                 kernels::allocate_shared(DType::i32, {sequences * S}), S};
  for (int64_t b = 0; b < sequences; ++b) {
    for (int64_t i = 0; i < S; ++i) {
      const int32_t input = tokens[static_cast<size_t>(b * width + i)];
      const int32_t target = tokens[static_cast<size_t>(b * width + i + 1)];
      values<int32_t>(out.inputs.view)[b * S + i] = std::max(input, 0);
      values<int32_t>(out.targets.view)[b * S + i] = std::max(target, -1);
    }
  }
  return out;
}

}  // namespace troupe::actors
