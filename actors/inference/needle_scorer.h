// Whether a model finds needles in haystacks.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "actors/inference/decoder.h"
#include "runtime/data/needle/needle.h"

namespace troupe::actors {

struct NeedleScore {
  bool is_exact;    ///< the greedy continuation of the prompt is the right value
  bool is_chosen;   ///< the right value is likelier than every other candidate
  double log_prob;  ///< ln p of the right value, all of its tokens
};

struct ScoreNeedlesArgs {
  Decoder& decoder;
  std::span<const runtime::NeedlePrompt> prompts;
  std::function<void(int64_t done)> progress;  ///< prompts; may be empty
};

/// Of each prompt. Prompts are computed several at once, which shows in no bit (law 1). Throws
/// KernelError if a prompt with its value outgrows the model's positions.
std::vector<NeedleScore> score_needles(const ScoreNeedlesArgs& args);

}  // namespace troupe::actors
