// Dispatch and combine of routed tokens between the GPUs of one host, as launchers over raw device
// pointers: kernels read and write each other's memory, and meet by flags in it.
//
// Every rank has a window: memory of its GPU that all others reach. It writes its tokens, their experts
// and weights into its own; `dispatch` brings every token once to each rank that has experts of it, there
// straight into the order of experts; `combine` brings back one sum a routing group, and adds them (law 2).
//
// What is written into a window for one generation may be written over when that generation's combine has
// passed on the rank itself. Ranks call both in the same order with generations that ascend from 1. Who has lost a peer
// sends no further sums, so the others find it lost; behind such a fault all windows are zero again before ranks go on.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace troupe::kernels::cuda {

constexpr int most_exchange_ranks = 8;
constexpr int most_exchange_slots = 8;

/// The same on all ranks. Rank r has experts [r * experts / ranks, (r + 1) * experts / ranks).
struct ExchangeShape {
  int ranks;           ///< R: 1 to 8
  int64_t tokens;      ///< T: the most that a rank has
  int slots;           ///< K: experts of a token, 4 or 8
  int experts;         ///< E: a multiple of groups
  int groups;          ///< routing groups: a multiple of ranks
  int kept_groups;     ///< that a token's experts are of, at most
  int64_t columns;     ///< D of what experts answer: a multiple of 8, at most 8192
  int64_t row_bytes;   ///< of a token as it is dispatched: a multiple of 16, at most 12 KiB
  int64_t scale_bytes; ///< that go with it: a multiple of 16, at most 1 KiB, or 0
};

/// Of a rank's tokens. It writes ids and weights, the plan the rest.
struct ExchangeTables {
  int32_t* ids;    ///< [T, K] experts, ascending for each token
  float* weights;  ///< [T, K]
  int32_t* rows;   ///< [T, K] each slot's row at its expert's rank
};

/// Where things stand in a rank's window. A rank writes payload and scales of its own.
struct ExchangeWindow {
  uint64_t* plan_ready;   ///< [R] by source: generation << 32 | tokens
  // Chunks are neighbouring tokens that are told of together.
  uint32_t* sums_come;    ///< [R, chunks] by holder: 1 when the sums of the chunk's tokens have come
  uint32_t* rows_come;    ///< [R, chunks] by source: 2 when the chunk's payload and its scales have come here
  uint32_t* sums_made;    ///< [R, chunks] by source: parts of its tokens' sums that have been made here
  uint32_t* blocks_done;  ///< of the rank's own plan
  ExchangeTables tables;
  int32_t* offsets;       ///< [R, E / R + 1] first row of each expert, by its rank
  char* payload;          ///< [T, row_bytes]
  char* scales;           ///< [T, scale_bytes]
  uint16_t* sums;         ///< [T, kept_groups, D] bf16, from ranks that have the groups
  uint16_t* made;         ///< [R, T, kept_groups, D] bf16, of others' tokens, on their way to them
};

/// Throws KernelError if a size is not as stated.
size_t exchange_window_bytes(const ExchangeShape& shape);
/// In memory of so many bytes, 256-byte aligned, that was zero before the first generation; also of another rank.
ExchangeWindow exchange_window(const ExchangeShape& shape, void* memory);

/// What a kernel found wrong, in the word that it was given; the first is kept. Its results are void then.
enum class ExchangeFault : uint32_t {
  none,
  expert_id,  ///< a token's experts do not ascend, are none, or of more than kept_groups groups
  lost_peer,
};

struct ExchangeCall {
  ExchangeShape shape;
  int rank;
  ExchangeWindow windows[most_exchange_ranks];
  int64_t tokens;        ///< of this rank in this generation, at most T
  uint32_t generation;
  int remote_blocks;     ///< that use other ranks' memory: a multiple of ranks - 1; with one rank 0
  int local_blocks;      ///< at least 1. All of a call's blocks must find room on the GPU at a time: 132 at most
  uint64_t patience_ns;  ///< that a kernel waits for another rank before it reports lost_peer
  uint32_t* fault;       ///< ExchangeFault
};

/// Rows of one source's tokens here. These, answers and y are 16-byte aligned.
struct ExchangeRows {
  char* payload;     ///< out: [rows, row_bytes], by expert, then by token
  char* scales;      ///< out: [rows, scale_bytes]
  int32_t* offsets;  ///< out: [E / R + 1]
};

/// rows[s] takes T * K rows at most. Asynchronous on `stream`. Throws KernelError if a size is not as
/// stated or the launch fails.
void exchange_dispatch(const ExchangeCall& call, const ExchangeRows (&rows)[most_exchange_ranks],
                       cudaStream_t stream);

/// answers[s]: [rows, D] bf16 of this rank's experts, in the order of rows[s]. y: [tokens, D] f32, for each token
/// the sum of its groups ascending, each rounded to bf16 once, in it experts ascending as fma(weight, row, sum).
/// Asynchronous on `stream`. Throws as exchange_dispatch.
void exchange_combine(const ExchangeCall& call, const uint16_t* const (&answers)[most_exchange_ranks], float* y,
                      cudaStream_t stream);

}  // namespace troupe::kernels::cuda
