#include "deploy/convert_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include "runtime/checkpoint/huggingface.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string from;
  std::string to;
  std::string dtype = "f32";
};

constexpr const char* examples = R"(Examples:
  troupe convert --from DeepSeek-V3 --to DeepSeek-V3-bf16 --dtype bf16
  troupe convert --from runs/first/model --to first-bf16 --dtype bf16

Reads F32, BF16, F16 and FP8 weights (with weight_scale_inv per 128 x 128 block); what it writes
`transformers` loads. Tokenizer files come along.)";

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                           "special_tokens_map.json", "generation_config.json"}) {
    if (fs::exists(from / name)) fs::copy_file(from / name, to / name);
  }
}

void convert(const Options& options) {
  const runtime::HuggingFaceModel source = runtime::open_huggingface(options.from);
  for (const std::string& note : source.notes) std::cerr << "note: " << note << "\n";
  const auto sink = runtime::create_huggingface(
      {.folder = options.to, .model = source.model,
       .dtype = options.dtype == "bf16" ? runtime::ExportDType::bf16 : runtime::ExportDType::f32,
       .bos_token_id = source.bos_token_id, .eos_token_id = source.eos_token_id,
       .largest_file_bytes = int64_t{5'000'000'000}});
  std::vector<float> values;
  int64_t elements = 0;
  for (const runtime::WeightInfo& tensor : sink->list()) {
    values.resize(static_cast<size_t>(tensor.count()));
    source.weights->read_f32(tensor.name, values);
    sink->write_f32(tensor.name, values);
    elements += tensor.count();
  }
  copy_tokenizer(options.from, sink->partial_folder());
  sink->finish();
  fmt::print("{}: {} tensors, {} elements as {}\n", options.to, sink->list().size(), elements,
             options.dtype);
}

}  // namespace

void add_convert_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("convert", "Write a model folder in another precision");
  command->add_option("--from", options->from, "Hugging Face folder to read")->required();
  command->add_option("--to", options->to, "folder to write; must not exist")->required();
  command->add_option("--dtype", options->dtype, "of the weights")
      ->check(CLI::IsMember({"f32", "bf16"}))->capture_default_str();
  command->footer(examples);
  command->callback([options] { convert(*options); });
}

}  // namespace troupe::deploy
