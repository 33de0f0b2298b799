#include "deploy/model/convert_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "actors/inference/model_folder.h"
#include "deploy/train/run_state.h"
#include "kernels/ops/quantize.h"
#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/huggingface.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

struct Options {
  ModelChoice from;
  std::string to;
  std::string dtype = "f32";
};

constexpr const char* examples = R"(Examples:
  troupe convert --from DeepSeek-V3 --to DeepSeek-V3-bf16 --dtype bf16
  troupe convert --from runs/first/model --to first-bf16 --dtype bf16
  troupe convert --from runs/first --ema --to first-average --dtype bf16

Reads F32, BF16, F16 and FP8 weights (with weight_scale_inv per 128 x 128 block); what it writes
`transformers` loads. Tokenizer files come along.)";

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                           "special_tokens_map.json", "generation_config.json"}) {
    if (fs::exists(from / name)) fs::copy_file(from / name, to / name);
  }
}

std::vector<float> read(const runtime::WeightSource& weights, const runtime::WeightInfo& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.count()));
  weights.read_f32(tensor.name, values);
  return values;
}

/// Reads the folder that was written and compares every element with what it was written from.
void verify(const runtime::WeightSource& source, const Options& options) {
  const runtime::HuggingFaceModel written = runtime::open_huggingface(options.to);
  int64_t elements = 0;
  for (const runtime::WeightInfo& tensor : source.list()) {
    elements += tensor.count();
    std::vector<float> wanted = read(source, tensor);
    const bool rounded = options.dtype == "bf16" && !runtime::stays_f32(tensor.name);
    for (float& value : wanted) {
      if (rounded) value = kernels::bf16_to_f32(kernels::f32_to_bf16(value));
    }
    const std::vector<float> found = read(*written.weights, tensor);
    if (std::memcmp(found.data(), wanted.data(), wanted.size() * sizeof(float)) != 0) {
      throw runtime::CheckpointError(options.to + ": tensor " + tensor.name +
                                     ": found other values, wanted those that were written");
    }
  }
  fmt::print("{}: {} tensors, {} elements as {}, read back and equal\n", options.to,
             source.list().size(), elements, options.dtype);
}

runtime::ExportDType dtype_of(const Options& options) {
  return options.dtype == "bf16" ? runtime::ExportDType::bf16 : runtime::ExportDType::f32;
}

void convert_run(const Options& options) {
  const actors::LoadedModel model = load_model(options.from);
  const auto tokenizer = runtime::Tokenizer::load(fs::path(options.from.folder) / "tokenizer.json");
  actors::export_model({.folder = options.to, .model = model.model, .arena = *model.arena,
                        .state = model.state, .routing_bias = model.routing_bias,
                        .tokenizer = &tokenizer, .context = model.context,
                        .takes_ema = model.reads_ema, .dtype = dtype_of(options)});
  verify(runtime::StateWeights({.arena = *model.arena, .state = model.state,
                                .routing_bias = model.routing_bias, .takes_ema = model.reads_ema},
                               runtime::weight_list(model.model)),
         options);
}

void convert(const Options& options) {
  check_choice(options.from);
  if (is_run_folder(options.from.folder)) return convert_run(options);
  const runtime::HuggingFaceModel source = runtime::open_huggingface(options.from.folder);
  for (const std::string& note : source.notes) std::cerr << "note: " << note << "\n";
  const auto sink = runtime::create_huggingface(
      {.folder = options.to, .model = source.model,
       .dtype = dtype_of(options),
       .bos_token_id = source.bos_token_id, .eos_token_id = source.eos_token_id,
       .largest_file_bytes = int64_t{5'000'000'000}});
  for (const runtime::WeightInfo& tensor : sink->list()) {
    sink->write_f32(tensor.name, read(*source.weights, tensor));
  }
  copy_tokenizer(options.from.folder, sink->partial_folder());
  sink->finish();
  verify(*source.weights, options);
}

}  // namespace

void add_convert_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("convert", "Write a model folder in another precision");
  command->add_option("--from", options->from.folder, "Hugging Face folder or run folder to read")
      ->required();
  command->add_option("--to", options->to, "folder to write; must not exist")->required();
  command->add_option("--dtype", options->dtype, "of the weights")
      ->check(CLI::IsMember({"f32", "bf16"}))->capture_default_str();
  add_state_options(*command, options->from);
  command->footer(examples);
  command->callback([options] { convert(*options); });
}

}  // namespace troupe::deploy
