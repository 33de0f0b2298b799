// Operands of FP8 products: rows, and rows of the batch as the inner dimension, as E4M3 codes and
// their scales (report, arXiv:2412.19437, section 3.3.2). Quantised as quantize_tiles does: rows in
// 1 x 128 tiles, columns in 128 x 1 tiles that begin anew with each group. Everything is
// asynchronous on a queue on the GPU.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/layers/gradient.h"
#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

/// How tiles of an operand are scaled, as in QuantizeTilesArgs.
struct Fp8Scaling {
  bool power_of_two;
  float least_amax;
};

/// Rows as codes of one byte: what products read, and what is kept for backward.
struct Fp8Rows {
  Tensor codes;   ///< [R, D] f8_e4m3
  Tensor scales;  ///< [tiles over D, R up to a multiple of 4] f32
};

/// Columns of rows in groups, turned: the inner dimension of weights' gradients.
struct Fp8Columns {
  Tensor codes;   ///< [D, 128 blocks] f8_e4m3, zeros behind a group's last row
  Tensor scales;  ///< [blocks, D] f32
};

/// Where groups begin, for the host and for kernels.
struct Fp8Groups {
  std::vector<int64_t> offsets;  ///< groups + 1 ascending row numbers, first 0, last R
  const int32_t* rows;           ///< the same on the GPU
  const int32_t* blocks;         ///< [groups + 1]: tiles of 128 rows before each group
  int64_t blocks_in_all;

  int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }
};
/// The tables are in `scratch`.
Fp8Groups fp8_groups(Queue& queue, Scratch& scratch, std::vector<int64_t> offsets);

/// Rows that an index names in a table, and what each is multiplied by.
struct TableRows {
  ConstTensor table;    ///< [T, D] bf16, D a multiple of 16
  ConstTensor index;    ///< [R] i32 on the GPU
  ConstTensor weights;  ///< [R] f32 on the GPU
};

/// x [R, D] bf16, D a multiple of 16.
Fp8Rows quantize_rows(Queue& queue, Scratch& scratch, const ConstTensor& x, const Fp8Scaling& scaling);
Fp8Columns quantize_columns(Queue& queue, Scratch& scratch, const ConstTensor& x,
                            const Fp8Scaling& scaling, const Fp8Groups& groups);
/// Both from one read of x: rows in `passing`, columns in `kept`.
std::pair<Fp8Rows, Fp8Columns> quantize_both(Queue& queue, Scratch& kept, Scratch& passing,
                                             const ConstTensor& x, const Fp8Scaling& scaling,
                                             const Fp8Groups& groups);
/// Rows of `of`; an index that names none is a fault of the queue.
Fp8Rows gather_codes(Queue& queue, Scratch& scratch, const Fp8Rows& of, const ConstTensor& index);
/// The columns of table[index]; weights are not read.
Fp8Columns quantize_columns(Queue& queue, Scratch& scratch, const TableRows& x,
                            const Fp8Scaling& scaling, const Fp8Groups& groups);
/// Rows, in `passing`, and columns, in `kept`, of weights[r] table[index[r]] rounded to bfloat16.
std::pair<Fp8Rows, Fp8Columns> quantize_weighed(Queue& queue, Scratch& kept, Scratch& passing,
                                                const TableRows& x, const Fp8Scaling& scaling,
                                                const Fp8Groups& groups);

/// y [R, D] bf16 = code times scale, rounded to nearest.
void read_fp8(Queue& queue, const Fp8Rows& rows, const Tensor& y);

/// Whether gate and up of this width go through codes alone.
inline bool has_swiglu_codes(int64_t F) { return F % 128 == 0; }

struct SwigluCodes {
  Fp8Rows kept;       ///< of gate and up side by side
  Fp8Rows activated;  ///< of silu(gate) * up
};
/// both [R, 2 F] bf16: gate, up. `scaling` has no powers of two.
/// The first in `kept`, the second in `passing`.
SwigluCodes swiglu_codes(Queue& queue, Scratch& kept, Scratch& passing, const ConstTensor& both,
                         const Fp8Scaling& scaling);

struct SwigluBackwardCodes {
  Fp8Rows rows;  ///< of the gradients of gate and up side by side
  Fp8Columns columns;
  Fp8Columns activated;
};
/// dactivated [R, F] bf16. Rows are in `passing`, columns in `kept`.
SwigluBackwardCodes swiglu_backward_codes(Queue& queue, Scratch& kept, Scratch& passing,
                                          const Fp8Rows& both, const ConstTensor& dactivated,
                                          const Fp8Scaling& activations,
                                          const Fp8Scaling& gradients, const Fp8Groups& groups);

}  // namespace troupe::kernels::cuda
