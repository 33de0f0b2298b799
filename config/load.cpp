#include "config/load.h"

#include <fmt/format.h>

#include "config/text/errors.h"
#include "config/text/paths.h"
#include "config/text/set.h"
#include "config/text/textproto.h"

namespace troupe::config {

namespace {

/// Expands the path `text` of `field` in place and finds it from the run file's folder.
void resolve(std::string& text, const std::string& field, const LoadedRun& run) {
  try {
    text = find_path(expand(text), run.file).string();
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format("{}: {}: {}", run.origins.place(field), field, error.what()));
  }
}

void resolve_all(google::protobuf::RepeatedPtrField<std::string>& texts, const std::string& field,
                 const LoadedRun& run) {
  for (int i = 0; i < texts.size(); ++i) {
    resolve(*texts.Mutable(i), fmt::format("{}[{}]", field, i), run);
  }
}

/// `files`: Data or DataSource, at the field `prefix`.
template <class Files>
void resolve_files(Files& files, const std::string& prefix, const LoadedRun& run) {
  resolve_all(*files.mutable_text(), prefix + ".text", run);
  resolve_all(*files.mutable_jsonl(), prefix + ".jsonl", run);
  resolve_all(*files.mutable_tokens(), prefix + ".tokens", run);
}

void resolve_paths(LoadedRun& loaded) {
  Run& run = loaded.run;
  if (run.model().has_file()) resolve(*run.mutable_model()->mutable_file(), "model.file", loaded);
  if (run.model().has_huggingface()) {
    resolve(*run.mutable_model()->mutable_huggingface(), "model.huggingface", loaded);
  }
  if (run.has_data()) {
    Data& data = *run.mutable_data();
    resolve_files(data, "data", loaded);
    for (int i = 0; i < data.source_size(); ++i) {
      resolve_files(*data.mutable_source(i), fmt::format("data.source[{}]", i), loaded);
    }
    if (data.tokenizer().has_file()) {
      resolve(*data.mutable_tokenizer()->mutable_file(), "data.tokenizer.file", loaded);
    }
  }
  if (run.has_out()) run.set_out(expand(run.out()));
  if (run.cluster().trace().has_folder()) {
    std::string& folder = *run.mutable_cluster()->mutable_trace()->mutable_folder();
    folder = expand(folder);
  }
}

}  // namespace

LoadedRun load_run(const std::filesystem::path& file, std::span<const std::string> settings) {
  LoadedRun loaded;
  loaded.file = file;
  loaded.name = file.stem().string();
  loaded.origins = parse_textproto(file, loaded.run);
  apply_settings(settings, loaded.run, loaded.origins);
  resolve_paths(loaded);
  return loaded;
}

LoadedModel load_model(const std::filesystem::path& file) {
  LoadedModel loaded;
  loaded.origins = parse_textproto(file, loaded.model);
  return loaded;
}

LoadedModel model_of(const LoadedRun& run) {
  if (!run.run.model().has_file()) {
    throw ConfigError(describe(
        {run.origins.place("model"), "model.file", "nothing", "the path of a model textproto"}));
  }
  std::error_code failure;
  if (!std::filesystem::is_regular_file(run.run.model().file(), failure)) {
    throw ConfigError(describe({run.origins.place("model.file"), "model.file",
                                "no file " + run.run.model().file(),
                                "a model textproto, from the current folder, the run file's "
                                "folder or one above it"}));
  }
  return with_changes(load_model(run.run.model().file()), run);
}

LoadedModel with_changes(LoadedModel base, const LoadedRun& run) {
  base.model.MergeFrom(run.run.model().with());
  base.origins.take_below(run.origins, "model.with");
  return base;
}

}  // namespace troupe::config
