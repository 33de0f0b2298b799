// The folder of a run: its copy of the run file, metrics, held-out text, and the model at the end.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "actors/train/timeline.h"
#include "config/load.h"
#include "deploy/line_file.h"
#include "runtime/cluster/journal/folder_lock.h"
#include "runtime/proto/step.pb.h"

namespace troupe::deploy {

class RunFolder {
 public:
  /// Where a new run goes: `wanted`, or runs/<name>-<time>. Throws std::runtime_error if something
  /// is there already.
  static std::filesystem::path choose(const std::filesystem::path& wanted,
                                      const std::string& run_name);
  /// Makes the folder and locks it.
  static RunFolder create(const std::filesystem::path& path);
  /// The folder of a run that began earlier, locked. Throws if there is none, or it is in use.
  static RunFolder open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// How to go on with a run that was stopped.
  std::string goes_on() const { return "troupe train --resume " + path_.string() + " goes on"; }

  /// Writes run.textproto with every setting in it.
  void write_run(config::Run run, const config::Model& model) const;
  /// `name`: within the folder; the folders in it are made.
  void write_file(const std::string& name, const std::string& content) const;

  /// One JSON object a line in metrics.jsonl. Throws std::runtime_error if the disk refuses.
  /// `by_source`: the step's sequences from each source of a mixture; else none.
  void add_metrics(const wire::StepDone& done, const actors::StepNumbers& numbers,
                   std::span<const std::pair<std::string, uint64_t>> by_source);
  void add_metrics(const wire::Evaluation& evaluation);

 private:
  explicit RunFolder(std::filesystem::path path);

  std::filesystem::path path_;
  std::unique_ptr<runtime::FolderLock> lock_;
  std::unique_ptr<LineFile> metrics_;
};

}  // namespace troupe::deploy
