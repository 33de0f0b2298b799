#include "deploy/train/lead_end.h"

#include <chrono>
#include <iostream>
#include <thread>
#include <utility>

#include "actors/inference/model_folder.h"
#include "config/phases.h"
#include "runtime/checkpoint/huggingface.h"

namespace troupe::deploy {

void end_everywhere(runtime::Leadership& leadership, Leader& leader, const std::string& text) {
  wire::LeasedEnd end;
  end.set_text(text);
  for (bool is_said = false;;) {
    const runtime::Commitment outcome = leadership.finish(end);
    if (outcome == runtime::Commitment::committed) return;
    if (!std::exchange(is_said, true)) {
      std::cerr << "alarm: the end of the run waits: " + leadership.error() + "\n" << std::flush;
    }
    if (outcome == runtime::Commitment::fenced) {
      leader.abandon();
      throw Fenced("this process led the run to its end, and another leads now");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

void end_in_failure(runtime::Leadership& leadership, const std::string& why) {
  wire::LeasedEnd end;
  end.set_text(why);
  end.set_has_failed(true);
  leadership.finish(end);
}

void export_run(const PreparedRun& prepared, const runtime::StateArena& arena,
                const actors::Timeline& timeline, const wire::StepRecord& record) {
  const RunSetup& p = prepared.setup;
  const RunFolder& folder = prepared.folder;
  if (!runtime::has_huggingface_form(p.model.model)) {
    std::cout << "note: no model folder, the attention is no MLA; eval and generate take "
              << folder.path().string() << "\n";
    return;
  }
  std::filesystem::remove_all(folder.path() / "model");  // of a shorter run that was resumed
  actors::export_model({.folder = folder.path() / "model",
                        .model = config::model_at(p.run.run, p.model.model, record.step()),
                        .arena = arena,
                        .state = record.step(),
                        .routing_bias = {record.bias().begin(), record.bias().end()},
                        .tokenizer = prepared.data.tokenizer.get(),
                        .context = timeline.phase_of_state(record.step()).sequence_rows});
  std::cout << "model " << (folder.path() / "model").string() << "\n";
}

}  // namespace troupe::deploy
