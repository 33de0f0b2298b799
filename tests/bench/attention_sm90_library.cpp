// Hopper's attention for compare_attention: B sequences of S rows, tensors [B, S, H, width], as
// functions without C++ in their names. Each returns 0, or says on stderr what was wrong.
#include <cstdio>

#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/tensor.h"

using namespace troupe::kernels;
using cuda::HeadRows;
using cuda::HeadRowsOut;

namespace {

HeadRows heads_of(const void* data, int64_t heads, int64_t width, int64_t first = 0) {
  return {static_cast<const uint16_t*>(data) + first, heads * width, width};
}
HeadRowsOut heads_of(void* data, int64_t heads, int64_t width, int64_t first = 0) {
  return {static_cast<uint16_t*>(data) + first, heads * width, width};
}

template <typename Call>
int run(Call call) {
  try {
    call();
    return 0;
  } catch (const KernelError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace

extern "C" {

int troupe_attention_forward(const void* q, const void* k, const void* v, void* o, void* log_sums,
                             void* counter, int64_t B, int64_t S, int64_t H, float scale,
                             void* stream) {
  return run([&] {
    const cuda::PackedRows rows{nullptr, S, B * S};
    cuda::attention_forward_sm90({.heads = H,
                                  .sequences = B,
                                  .queries = rows,
                                  .keys = rows,
                                  .scale = scale,
                                  .q = heads_of(q, H, 192),
                                  .k = heads_of(k, H, 192),
                                  .k_rope = heads_of(k, H, 192, 128),
                                  .v = heads_of(v, H, 128),
                                  .o = static_cast<uint16_t*>(o),
                                  .log_sums = static_cast<float*>(log_sums),
                                  .counter = static_cast<int32_t*>(counter)},
                                 static_cast<cudaStream_t>(stream));
  });
}

int64_t troupe_attention_workspace_bytes(int64_t B, int64_t S, int64_t H, int64_t together) {
  return cuda::attention_backward_sm90_workspace_bytes(H, B, {nullptr, S, B * S}, together);
}

int troupe_attention_backward(const void* q, const void* k, const void* v, const void* o,
                              const void* d_o, const void* log_sums, void* dq, void* dk, void* dv,
                              void* workspace, int64_t workspace_bytes, int64_t B, int64_t S,
                              int64_t H, float scale, void* stream) {
  return run([&] {
    cuda::attention_backward_sm90({.heads = H,
                                   .sequences = B,
                                   .rows = {nullptr, S, B * S},
                                   .scale = scale,
                                   .q = heads_of(q, H, 192),
                                   .k = heads_of(k, H, 192),
                                   .k_rope = heads_of(k, H, 192, 128),
                                   .v = heads_of(v, H, 128),
                                   .o = heads_of(o, H, 128),
                                   .do_ = heads_of(d_o, H, 128),
                                   .log_sums = static_cast<const float*>(log_sums),
                                   .dq = heads_of(dq, H, 192),
                                   .dk = heads_of(dk, H, 192),
                                   .dk_rope = heads_of(dk, H, 192, 128),
                                   .dv = heads_of(dv, H, 128),
                                   .workspace = workspace,
                                   .workspace_bytes = workspace_bytes},
                                  static_cast<cudaStream_t>(stream));
  });
}

}  // extern "C"
