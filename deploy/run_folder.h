// The folder of a run: its copy of the run file, metrics, held-out text, and the model at the end.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "config/load.h"
#include "runtime/proto/step.pb.h"

namespace troupe::deploy {

class RunFolder {
 public:
  /// `path` empty: runs/<name>-<time>. Throws std::runtime_error if it exists with something in it.
  RunFolder(const std::filesystem::path& path, const std::string& run_name);

  const std::filesystem::path& path() const { return path_; }

  /// Writes run.textproto with every setting in it.
  void write_run(const config::Run& run, const config::Model& model) const;
  void write_file(const std::string& name, const std::string& content) const;

  /// One JSON object a line in metrics.jsonl.
  void add_metrics(const wire::StepDone& done);
  void add_metrics(const wire::Evaluation& evaluation);

 private:
  std::filesystem::path path_;
  std::ofstream metrics_;
};

}  // namespace troupe::deploy
