#include "runtime/checkpoint/huggingface_config.h"

#include "runtime/checkpoint/files.h"
#include "runtime/checkpoint/json_fields.h"

namespace troupe::runtime {

namespace {

using config::Model;

/// Fields whose other values mean another architecture.
void check_architecture(const JsonFields& fields) {
  const auto same = [&](const char* field, const std::string& wanted) {
    const std::string found = fields.text(field, wanted);
    if (found != wanted) fields.refuse(field, found, wanted);
  };
  const auto flag = [&](const char* field, bool wanted) {
    if (fields.boolean(field, wanted) != wanted) {
      fields.refuse(field, wanted ? "false" : "true", wanted ? "true" : "false");
    }
  };
  if (!fields.has("model_type")) fields.refuse("model_type", "nothing", "deepseek_v3");
  same("model_type", "deepseek_v3");
  same("hidden_act", "silu");
  same("scoring_func", "sigmoid");
  same("topk_method", "noaux_tc");
  flag("attention_bias", false);
  flag("tie_word_embeddings", false);
  flag("rope_interleave", true);
  if (fields.integer("moe_layer_freq", 1) != 1) {
    fields.refuse("moe_layer_freq", fields.at("moe_layer_freq").dump(), "1");
  }
  const int32_t heads = fields.integer("num_attention_heads");
  if (fields.integer("num_key_value_heads", heads) != heads) {
    fields.refuse("num_key_value_heads", fields.at("num_key_value_heads").dump(),
                  "num_attention_heads, " + std::to_string(heads));
  }
}

void read_sizes(const JsonFields& fields, Model& model) {
  model.set_vocab_size(fields.integer("vocab_size"));
  model.set_hidden_size(fields.integer("hidden_size"));
  model.set_layers(fields.integer("num_hidden_layers"));
  model.set_dense_layers(fields.integer("first_k_dense_replace"));
  model.set_heads(fields.integer("num_attention_heads"));
  model.set_q_lora_rank(fields.integer("q_lora_rank", 0));
  model.set_kv_lora_rank(fields.integer("kv_lora_rank"));
  model.set_qk_nope_head_dim(fields.integer("qk_nope_head_dim"));
  model.set_qk_rope_head_dim(fields.integer("qk_rope_head_dim"));
  model.set_v_head_dim(fields.integer("v_head_dim"));
  // transformers 5 also takes its own name for it.
  model.set_mtp_layers(
      fields.integer("num_nextn_predict_layers", fields.integer("num_mtp_layers", 0)));
  model.set_max_positions(fields.integer("max_position_embeddings"));
  model.set_rms_norm_eps(fields.number("rms_norm_eps"));
  model.set_init_std(fields.number("initializer_range", 0.02));
}

void read_experts(const JsonFields& fields, Model& model) {
  model.set_dense_intermediate_size(fields.integer("intermediate_size"));
  model.set_expert_intermediate_size(fields.integer("moe_intermediate_size"));
  model.set_experts(fields.integer("n_routed_experts"));
  model.set_shared_experts(fields.integer("n_shared_experts", 0));
  model.set_expert_groups(fields.integer("n_group", 1));
  model.set_top_groups(fields.integer("topk_group", 1));
  model.set_experts_per_token(fields.integer("num_experts_per_tok"));
  model.set_norm_topk_prob(fields.boolean("norm_topk_prob", true));
  model.set_routed_scaling_factor(fields.number("routed_scaling_factor", 1.0));
}

/// `rope` is rope_scaling or rope_parameters.
void read_rope_type(const JsonFields& rope, Model& model) {
  const char* name = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.text(name, "default");
  if (type == "default") return;
  if (type != "yarn") rope.refuse(name, type, "default or yarn");
  if (rope.has("attention_factor")) {
    rope.refuse("attention_factor", rope.at("attention_factor").dump(), "mscale instead");
  }
  if (!rope.boolean("truncate", true)) rope.refuse("truncate", "false", "true");
  config::Yarn& yarn = *model.mutable_yarn();
  yarn.set_factor(rope.number("factor"));
  yarn.set_original_max_position(
      rope.integer("original_max_position_embeddings", model.max_positions()));
  yarn.set_beta_fast(rope.number("beta_fast", 32));
  yarn.set_beta_slow(rope.number("beta_slow", 1));
  yarn.set_mscale(rope.number("mscale", 0));
  yarn.set_mscale_all_dim(rope.number("mscale_all_dim", 0));
  if (yarn.mscale() == 0 && yarn.mscale_all_dim() != 0) {
    rope.refuse("mscale", "nothing", "it with mscale_all_dim");
  }
}

void read_rope(const JsonFields& fields, Model& model) {
  model.set_rope_theta(fields.number("rope_theta", 10000));
  if (fields.has("rope_parameters")) {
    const JsonFields rope = fields.section("rope_parameters");
    model.set_rope_theta(rope.number("rope_theta", model.rope_theta()));
    read_rope_type(rope, model);
  } else if (fields.has("rope_scaling")) {
    read_rope_type(fields.section("rope_scaling"), model);
  }
}

std::optional<std::array<int64_t, 2>> read_quantization(const JsonFields& fields) {
  if (!fields.has("quantization_config")) return std::nullopt;
  const JsonFields quantization = fields.section("quantization_config");
  const std::string method = quantization.text("quant_method", "");
  if (method != "fp8") quantization.refuse("quant_method", method, "fp8");
  const std::string format = quantization.text("fmt", "e4m3");
  if (format != "e4m3") quantization.refuse("fmt", format, "e4m3");
  if (!quantization.has("weight_block_size")) return std::array<int64_t, 2>{128, 128};
  const auto& block = quantization.at("weight_block_size");
  const auto is_size = [](const nlohmann::json& n) {
    return n.is_number_unsigned() && n.get<uint64_t>() >= 1 && n.get<uint64_t>() <= 1 << 20;
  };
  if (!block.is_array() || block.size() != 2 || !is_size(block[0]) || !is_size(block[1])) {
    quantization.refuse("weight_block_size", block.dump(), "two sizes, as [128, 128]");
  }
  return std::array<int64_t, 2>{block[0].get<int64_t>(), block[1].get<int64_t>()};
}

int32_t read_token_id(const JsonFields& fields, const char* field) {
  if (!fields.has(field)) return -1;
  const auto& value = fields.at(field);
  if (!value.is_array()) return fields.integer(field);
  if (value.empty() || !value[0].is_number_unsigned() || value[0].get<uint64_t>() > INT32_MAX) {
    fields.refuse(field, value.dump(), "a token id or a list of them");
  }
  return value[0].get<int32_t>();
}

nlohmann::ordered_json rope_parameters(const Model& model) {
  nlohmann::ordered_json rope{{"rope_theta", model.rope_theta()}};
  if (!model.has_yarn()) {
    rope["rope_type"] = "default";
    return rope;
  }
  const config::Yarn& yarn = model.yarn();
  rope["rope_type"] = "yarn";
  rope["factor"] = yarn.factor();
  rope["original_max_position_embeddings"] = yarn.original_max_position();
  rope["beta_fast"] = yarn.beta_fast();
  rope["beta_slow"] = yarn.beta_slow();
  if (yarn.mscale() != 0) rope["mscale"] = yarn.mscale();
  if (yarn.mscale_all_dim() != 0) rope["mscale_all_dim"] = yarn.mscale_all_dim();
  return rope;
}

}  // namespace

HuggingFaceConfig parse_huggingface_config(const std::string& text, const std::string& file) {
  const nlohmann::json object = parse_object(text, file);
  const JsonFields fields(object, file + ": ");
  HuggingFaceConfig config;
  check_architecture(fields);
  read_sizes(fields, config.model);
  read_experts(fields, config.model);
  read_rope(fields, config.model);
  config.quantization_block = read_quantization(fields);
  config.bos_token_id = read_token_id(fields, "bos_token_id");
  config.eos_token_id = read_token_id(fields, "eos_token_id");
  return config;
}

HuggingFaceConfig read_huggingface_config(const std::filesystem::path& folder) {
  const auto file = folder / "config.json";
  return parse_huggingface_config(read_file(file, 16 << 20), file.string());
}

std::string huggingface_config_text(const HuggingFaceConfigArgs& args) {
  const Model& model = args.model;
  nlohmann::ordered_json json{
      {"architectures", {"DeepseekV3ForCausalLM"}},
      {"model_type", "deepseek_v3"},
      {"dtype", args.dtype},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"bos_token_id", nullptr},
      {"eos_token_id", nullptr},
      {"first_k_dense_replace", model.dense_layers()},
      {"head_dim", model.qk_rope_head_dim()},
      {"hidden_act", "silu"},
      {"hidden_size", model.hidden_size()},
      {"initializer_range", model.init_std()},
      {"intermediate_size", model.dense_intermediate_size()},
      {"kv_lora_rank", model.kv_lora_rank()},
      {"max_position_embeddings", model.max_positions()},
      {"moe_intermediate_size", model.expert_intermediate_size()},
      {"moe_layer_freq", 1},
      {"n_group", model.expert_groups()},
      {"n_routed_experts", model.experts()},
      {"n_shared_experts", model.shared_experts()},
      {"norm_topk_prob", model.norm_topk_prob()},
      {"num_attention_heads", model.heads()},
      {"num_experts_per_tok", model.experts_per_token()},
      {"num_hidden_layers", model.layers()},
      {"num_key_value_heads", model.heads()},
      {"num_nextn_predict_layers", model.mtp_layers()},
      {"q_lora_rank", nullptr},
      {"qk_head_dim", model.qk_nope_head_dim() + model.qk_rope_head_dim()},
      {"qk_nope_head_dim", model.qk_nope_head_dim()},
      {"qk_rope_head_dim", model.qk_rope_head_dim()},
      {"rms_norm_eps", model.rms_norm_eps()},
      {"rope_interleave", true},
      {"rope_parameters", rope_parameters(model)},
      {"routed_scaling_factor", model.routed_scaling_factor()},
      {"scoring_func", "sigmoid"},
      {"tie_word_embeddings", false},
      {"topk_group", model.top_groups()},
      {"topk_method", "noaux_tc"},
      {"use_cache", true},
      {"v_head_dim", model.v_head_dim()},
      {"vocab_size", model.vocab_size()},
  };
  if (model.q_lora_rank() > 0) json["q_lora_rank"] = model.q_lora_rank();
  if (args.bos_token_id >= 0) json["bos_token_id"] = args.bos_token_id;
  if (args.eos_token_id >= 0) json["eos_token_id"] = args.eos_token_id;
  return json.dump(2) + "\n";
}

}  // namespace troupe::runtime
