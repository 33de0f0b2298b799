// Operators of a queue, bound by the bytes that they read and write.
#include <array>

#include "deploy/bench/kernels/cuda/operands.h"
#include "kernels/ops/logits.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/routing.h"

namespace troupe::deploy::kernel_bench {
namespace {

/// T: of rows of x, float or uint16_t (bfloat16); y is bfloat16, as products read it.
template <class T>
Case rms_norm(int64_t rows) {
  struct Kept {
    DeviceArray<T> x;
    DeviceArray<float> weight, inverse_rms;
    DeviceArray<uint16_t> y;
  };
  const int64_t D = 7168;
  const auto its = std::make_shared<const Kept>(Kept{random_array<T>(rows * D, 1), random_array<float>(D, 2),
                                                     DeviceArray<float>(rows), DeviceArray<uint16_t>(rows * D)});
  const kernels::RmsNormArgs args{.x = its->x.tensor({rows, D}),
                                  .weight = its->weight.tensor({D}),
                                  .eps = 1e-6f,
                                  .y = its->y.tensor({rows, D}),
                                  .inverse_rms = its->inverse_rms.tensor({rows})};
  return {.shape = by({rows, D}) + (sizeof(T) == 4 ? ", f32 to bf16" : ", bf16 to bf16"),
          .flop = 0,
          .bytes = product({rows, D}) * (sizeof(T) + 2) + 4 * static_cast<double>(D + rows),
          .ours = [its, args](kernels::Queue& queue) { kernels::rms_norm(queue, args); }};
}

Case cross_entropy(int64_t rows, int64_t vocabulary) {
  struct Kept {
    DeviceArray<float> logits;
    DeviceArray<int32_t> targets;
    DeviceArray<float> losses, log_sums;
  };
  std::vector<int32_t> targets;
  for (int64_t t = 0; t < rows; ++t) targets.push_back(static_cast<int32_t>(t * 7919 % vocabulary));
  const auto its = std::make_shared<const Kept>(Kept{random_array<float>(rows * vocabulary, 1),
                                                     DeviceArray<int32_t>(targets), DeviceArray<float>(rows),
                                                     DeviceArray<float>(rows)});
  const kernels::CrossEntropyArgs args{.logits = its->logits.tensor({rows, vocabulary}),
                                       .targets = its->targets.tensor({rows}),
                                       .losses = its->losses.tensor({rows}),
                                       .log_sums = its->log_sums.tensor({rows})};
  return {.shape = by({rows, vocabulary}),
          .flop = 0,
          .bytes = 4 * product({rows, vocabulary}) + 12 * static_cast<double>(rows),
          .ours = [its, args](kernels::Queue& queue) { kernels::cross_entropy(queue, args); }};
}

/// T: of moments, float or uint16_t (bfloat16). New values beside the old ones, and the weight in bfloat16 too.
template <class T>
Case adamw(int64_t n) {
  struct Kept {
    DeviceArray<int64_t> gradient;
    DeviceArray<float> weight, new_weight;
    DeviceArray<T> moment1, moment2, new_moment1, new_moment2;
    DeviceArray<uint16_t> new_bf16;
  };
  const auto its = std::make_shared<const Kept>(Kept{
      random_array<int64_t>(n, 1), random_array<float>(n, 2), DeviceArray<float>(n), DeviceArray<T>::zeros(n),
      DeviceArray<T>::zeros(n), DeviceArray<T>(n), DeviceArray<T>(n), DeviceArray<uint16_t>(n)});
  const kernels::AdamWArgs args{.step = {.learning_rate = 1e-3f,
                                         .beta1 = 0.9f,
                                         .beta2 = 0.95f,
                                         .eps = 1e-8f,
                                         .clip = 1.0f,
                                         .correction1 = 0.1f,
                                         .correction2 = 0.05f},
                                .weight_decay = 0.1f,
                                .gradient = its->gradient.tensor({n}),
                                .scale_bits = 40,
                                .weight = its->weight.tensor({n}),
                                .moment1 = its->moment1.tensor({n}),
                                .moment2 = its->moment2.tensor({n}),
                                .new_weight = its->new_weight.tensor({n}),
                                .new_moment1 = its->new_moment1.tensor({n}),
                                .new_moment2 = its->new_moment2.tensor({n}),
                                .new_bf16 = its->new_bf16.tensor({n})};
  return {.shape = std::to_string(n) + (sizeof(T) == 4 ? ", moments in f32" : ", moments in bf16"),
          .flop = 0,
          .bytes = static_cast<double>(n) * (8 + 2 * 4 + 4 * sizeof(T) + 2),
          .ours = [its, args](kernels::Queue& queue) { kernels::adamw_blocks(queue, {args}); }};
}

/// The 671B model's: 8 of 256 experts in 8 groups, of which 4 are kept.
Case gate(int64_t tokens) {
  struct Kept {
    DeviceArray<float> logits, bias, scores, weights;
    DeviceArray<int32_t> expert_ids;
  };
  const int64_t experts = 256, chosen = 8;
  const auto its = std::make_shared<const Kept>(Kept{random_array<float>(tokens * experts, 1),
                                                     DeviceArray<float>::zeros(experts),
                                                     DeviceArray<float>(tokens * experts),
                                                     DeviceArray<float>(tokens * chosen),
                                                     DeviceArray<int32_t>(tokens * chosen)});
  const kernels::RouteTokensArgs args{.logits = its->logits.tensor({tokens, experts}),
                                      .bias = its->bias.tensor({experts}),
                                      .n_groups = 8,
                                      .top_groups = 4,
                                      .normalize = true,
                                      .scale = 2.5f,
                                      .scores = its->scores.tensor({tokens, experts}),
                                      .expert_ids = its->expert_ids.tensor({tokens, chosen}),
                                      .weights = its->weights.tensor({tokens, chosen})};
  return {.shape = by({tokens, experts}) + ", " + std::to_string(chosen) + " chosen",
          .flop = 0,
          .bytes = 8 * product({tokens, experts}) + 8 * product({tokens, chosen}) + 4 * static_cast<double>(experts),
          .ours = [its, args](kernels::Queue& queue) { kernels::route_tokens(queue, args); }};
}

}  // namespace

void add_operator_cases(std::vector<CaseOf>& cases) {
  for (const int64_t rows : {8192, 32768}) {
    cases.push_back({"RMSNorm", [rows](const PeerLibrary*) { return rms_norm<float>(rows); }});
    cases.push_back({"RMSNorm", [rows](const PeerLibrary*) { return rms_norm<uint16_t>(rows); }});
  }
  cases.push_back({"cross entropy", [](const PeerLibrary*) { return cross_entropy(4096, 129280); }});
  constexpr int64_t elements = 1 << 26;
  cases.push_back({"AdamW", [](const PeerLibrary*) { return adamw<float>(elements); }});
  cases.push_back({"AdamW", [](const PeerLibrary*) { return adamw<uint16_t>(elements); }});
  cases.push_back({"gate", [](const PeerLibrary*) { return gate(8192); }});
}

}  // namespace troupe::deploy::kernel_bench
