// A run file and a setting of the command line: parsed, checked against a model, and planned.
#include <limits>

#include "config/phases.h"
#include "config/plan/describe.h"
#include "config/plan/memory.h"
#include "config/text/errors.h"
#include "config/text/set.h"
#include "config/text/textproto.h"
#include "config/validate.h"

using namespace troupe::config;

static LoadedModel small_model() {
  LoadedModel loaded;
  loaded.origins = parse_textproto("tiny.textproto", R"(
vocab_size: 512 hidden_size: 64 layers: 3 dense_layers: 1 heads: 4 q_lora_rank: 16
kv_lora_rank: 16 qk_nope_head_dim: 8 qk_rope_head_dim: 8 v_head_dim: 8 dense_intermediate_size: 64
expert_intermediate_size: 16 experts: 8 shared_experts: 1 expert_groups: 2 top_groups: 1
experts_per_token: 2 norm_topk_prob: true routed_scaling_factor: 2.5 mtp_layers: 1
max_positions: 4096 init_std: 0.02)", loaded.model);
  validate(loaded);
  return loaded;
}

/// The first line is a setting if it begins with '!'; the rest is the file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const LoadedModel model = small_model();
  std::string text(reinterpret_cast<const char*>(data), size);
  std::string setting;
  if (text.starts_with('!')) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    setting = text.substr(1, end - 1);
    text.erase(0, end + 1);
  }
  try {
    LoadedRun loaded;
    loaded.file = "run.textproto";
    loaded.name = "run";
    loaded.origins = parse_textproto("run.textproto", text, loaded.run);
    if (!setting.empty()) apply_settings({&setting, 1}, loaded.run, loaded.origins);
    validate(loaded, model);
    // The plan lists every micro-batch: more than this is slow to fuzz, and tests have it.
    if (largest_step(loaded.run).micro_batches > 256) return 0;
    const PlanArgs args{loaded, model, 2};
    const Plan plan = make_plan(args);
    static_cast<void>(describe_plan(args, plan));
    check_memory(args, plan, std::numeric_limits<int64_t>::max());
  } catch (const ConfigError&) {
  }
  return 0;
}
