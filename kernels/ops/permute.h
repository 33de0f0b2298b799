#pragma once

#include <vector>

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// y[r] = x[index[r]]: tokens to expert order (dispatch). R rows out of T, width D.
struct GatherRowsArgs {
  ConstTensor x;      ///< [T, D] f32; or bf16 in the arithmetic sm_90a
  ConstTensor index;  ///< [R] i32 in [0, T)
  Tensor y;           ///< out: [R, D] likewise; rounded to nearest even where x is f32
};

void gather_rows(Queue& queue, const GatherRowsArgs& args);

/// Arguments of `combine_rows`: T tokens, K experts a token in ascending id order.
struct CombineRowsArgs {
  std::vector<ConstTensor> rows;  ///< per source (expert shard): [R_s, D] f32; or bf16 in the
                                  ///< arithmetic sm_90a
  ConstTensor source;             ///< [T, K] i32: which of `rows`; -1: nothing stands there
  ConstTensor row;                ///< [T, K] i32: which row of it
  ConstTensor group;              ///< [T, K] i32: routing group of the expert, ascending
  ConstTensor weight;             ///< [T, K] f32, or no data: all weights 1
  Tensor y;                       ///< out: [T, D] f32
  /// Each group's sum is rounded to BF16, as it travels in a recipe of low precision: once, and
  /// also where nothing travels (law 2; report section 3.3.3).
  bool rounds_groups = false;
  /// By source: its rows are sums of whole groups already, made as here, and stand for them. Empty:
  /// none are.
  std::vector<bool> are_sums = {};
};

/// Law 2: for each routing group its sum is formed first, experts in id order:
/// s = fma(weight, row, s) from +0 (s + row without weights); then the groups' sums are added in
/// id order, from the first group's. So a group's sum may be made where its rows are, by a call for
/// that group alone, and the bits are the same.
void combine_rows(Queue& queue, const CombineRowsArgs& args);

/// y[r] = scale[r] * x[r].
struct ScaleRowsArgs {
  ConstTensor x;      ///< [R, D] f32
  ConstTensor scale;  ///< [R] f32
  Tensor y;           ///< out: [R, D] f32; may be x
};

void scale_rows(Queue& queue, const ScaleRowsArgs& args);

/// y[r] = sum over columns of a[r] * b[r] (16 lanes and their tree).
struct DotRowsArgs {
  ConstTensor a;  ///< [R, D] f32
  ConstTensor b;  ///< [R, D] f32
  Tensor y;       ///< out: [R] f32
};

void dot_rows(Queue& queue, const DotRowsArgs& args);

/// y = a + b, element by element, or onto + (a + b).
struct AddArgs {
  ConstTensor a;          ///< [T, D] f32
  ConstTensor b;          ///< [T, D] f32
  ConstTensor onto = {};  ///< [T, D] f32; or none
  Tensor y;               ///< out: [T, D] f32; may be any of them
};

void add(Queue& queue, const AddArgs& args);

/// y = x; both may be slices of columns.
struct CopyArgs {
  ConstTensor x;  ///< [T, D] of any dtype
  Tensor y;       ///< out: [T, D] of the same
};

void copy(Queue& queue, const CopyArgs& args);

/// Every element becomes 0.
struct SetZeroArgs {
  Tensor y;  ///< out: [T, D] of any dtype
};

void set_zero(Queue& queue, const SetZeroArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void gather_rows(Queue& queue, const GatherRowsArgs& args);
void combine_rows(Queue& queue, const CombineRowsArgs& args);
void scale_rows(Queue& queue, const ScaleRowsArgs& args);
void dot_rows(Queue& queue, const DotRowsArgs& args);
void add(Queue& queue, const AddArgs& args);
void copy(Queue& queue, const CopyArgs& args);
void set_zero(Queue& queue, const SetZeroArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
