#include "deploy/train/prepared_run.h"

#include <google/protobuf/text_format.h>

#include <iostream>

#include "actors/train/timeline.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/model_shape.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;
using runtime::ClusterError;

RunFolder make_folder(const TrainOptions& options, const RunSetup& p, const TrainingData& data,
                      const fs::path& place) {
  const bool is_new = options.resume.empty();
  RunFolder folder = is_new ? RunFolder::create(place) : RunFolder::open(place);
  if (const std::string& shared = p.run.run.checkpoint().folder(); is_new && !shared.empty()) {
    fs::create_directories(shared);
    fs::create_directory_symlink(fs::absolute(shared), place / "checkpoints");
  }
  if (is_new) {
    folder.write_run(p.run.run, p.model.model);
    folder.write_file("tokenizer.json", data.tokenizer->json());
    const std::string& names = data.tokenizer->config_json();  // of bos and eos
    if (!names.empty()) folder.write_file("tokenizer_config.json", names);
    folder.write_file("heldout.txt", data.heldout_text);
    for (const auto& [name, text] : data.heldout_of_sources) {
      folder.write_file("heldout/" + name, text);
    }
  }
  std::cout << "run folder " << folder.path().string() << "\n" << std::flush;
  if (options.writes_training_text) folder.write_file("train.txt", data.training_text());
  return folder;
}

/// The same run, over so many processes.
void plan_for(RunSetup& setup, int processes) {
  setup.run.run.mutable_cluster()->set_nodes(processes);
  setup.plan = config::make_plan(setup.plan_args());
}

std::string text_of(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

/// Of what has to be the same wherever the run is led. Where files stand and how it is spread is not part
/// of it; what is read from them, and the plan that nodes have, is.
uint64_t recipe_of(const RunSetup& p, const TrainingData& data) {
  config::Run run = p.run.run;
  const int redundancy = p.plan.redundancy;
  for (const int field : {config::Run::kModelFieldNumber, config::Run::kDataFieldNumber,
                          config::Run::kClusterFieldNumber, config::Run::kCheckpointFieldNumber,
                          config::Run::kOutFieldNumber}) {
    run.GetReflection()->ClearField(&run, run.GetDescriptor()->FindFieldByNumber(field));
  }
  run.mutable_train()->clear_arithmetic();  // what it comes to is below
  const auto recipe = actors::make_recipe(p.run.run, runtime::model_shape(p.model.model));
  std::vector<std::string> texts{text_of(run), text_of(p.model.model), std::to_string(redundancy),
                                 std::string(name_of(recipe.arithmetic)), data.tokenizer->json()};
  for (const actors::MicroBatch& batch : data.step(actors::Timeline(recipe).at(1))) {
    const kernels::Tensor& inputs = batch.inputs.view;
    texts.emplace_back(static_cast<const char*>(inputs.data),
                       static_cast<size_t>(inputs.count()) * sizeof(int32_t));
  }
  return runtime::hash_of(texts);
}

std::optional<LeasedRun> find_leased_run(const TrainOptions& options, const RunSetup& p,
                                         const TrainingData& data) {
  const config::Cluster& cluster = p.run.run.cluster();
  if (!cluster.has_lease()) {
    if (!options.cluster.is_standby) return std::nullopt;
    throw ClusterError("--standby: found no cluster.lease in the run, wanted one: a lock on a folder is "
                       "of one host");
  }
  if (options.cluster.listen.empty()) {
    throw ClusterError("cluster.lease: found no --listen, wanted the address of this host where nodes of "
                       "others join");
  }
  const std::string& host = runtime::parse_endpoint(options.cluster.listen).host;
  if (host == "0.0.0.0" || host == "::") {
    throw ClusterError("--listen " + options.cluster.listen +
                       ": wanted the address by which others reach this host, for cluster.lease says it "
                       "to them");
  }
  using Part = LeasedRun::Part;
  return LeasedRun({.place = lease_place(cluster.lease()),
                    .part = options.cluster.is_standby ? Part::stands_by
                            : options.resume.empty()   ? Part::begins
                                                       : Part::resumes,
                    .priority = options.cluster.priority,
                    .recipe = recipe_of(p, data)});
}

/// While it lives, whoever waits for nodes stops when the lease is lost, or the run is told to.
class WaitingCheck {
 public:
  WaitingCheck(MeetingPoint& at, runtime::Leadership* leadership, const StopSignals* signals) : at_(at) {
    at.check = [leadership, signals] {
      const std::string loss = leadership ? leadership->lease().loss() : "";
      if (!loss.empty()) throw Fenced("this process was about to lead the run: " + loss);
      if (const int signal = signals ? signals->received() : 0) {
        throw StoppedBySignal(signal, "stopped by " + signal_name(signal) + " while the run waited for nodes");
      }
    };
  }
  ~WaitingCheck() { at_.check = {}; }

 private:
  MeetingPoint& at_;
};

}  // namespace

PreparedRun prepare(const TrainOptions& options, RunSetup p) {
  check_memory(p);
  // The folder is made when nothing can be wrong with the run any more.
  const fs::path place =
      options.resume.empty()
          ? RunFolder::choose(options.out.empty() ? p.run.run.out() : options.out, p.run.name)
          : fs::path(options.resume);
  TrainingData data = read_training_data(p.run, p.model.model);
  const bool has_evaluator = data.heldout && !data.heldout->empty();
  auto failpoints = failpoints_of(
      options.failpoints, {p.plan, runtime::model_shape(p.model.model), p.run.run.train().steps(),
                           p.run.run.checkpoint().every(), has_evaluator});
  std::optional<LeasedRun> lease = find_leased_run(options, p, data);
  auto meeting = p.plan.processes > 1
                     ? std::make_unique<MeetingPoint>(options.cluster, lease ? lease->nonce() : "")
                     : nullptr;
  if (lease) lease->prove(meeting->secret);  // which has several processes
  RunFolder folder = make_folder(options, p, data, place);
  if (lease) lease->begin(runtime::to_string(meeting->listener.endpoint()));
  return {options, std::move(p), std::move(data), std::move(failpoints), std::move(folder),
          std::move(meeting), std::move(lease)};
}

Mandate take_the_lead(PreparedRun& prepared, const LeaderLife& life,
                      runtime::JournalHistory& history) {
  RunSetup& setup = prepared.setup;
  if (life.processes() > 0) plan_for(setup, life.processes());
  if (!prepared.lease) {
    Mandate mandate;
    mandate.loss = life.loss();
    mandate.loss_us = life.loss_us();
    return mandate;
  }
  Mandate mandate = prepared.lease->lead(
      {.life = life,
       .history = history,
       .address = runtime::to_string(prepared.meeting->listener.endpoint()),
       .processes = setup.plan.processes,
       .cores = setup.cores});
  if (!mandate.leadership) return mandate;
  if (history.arithmetic.empty()) {  // part of the recipe
    history.arithmetic = name_of(
        actors::make_recipe(setup.run.run, runtime::model_shape(setup.model.model)).arithmetic);
  }
  history.last_term = mandate.leadership->term().term - 1;
  if (mandate.cores > 0) setup.cores = mandate.cores;  // nodes have the plan that was made for these
  if (mandate.processes > 0) plan_for(setup, mandate.processes);
  return mandate;
}

Gathered gather(const PreparedRun& prepared, runtime::Leadership* leadership, const Mandate& mandate,
                const runtime::JournalHistory& history, const NodeProcessesPtr& processes,
                HeldParts& parts) {
  if (!prepared.meeting) return {};
  const config::Plan& plan = prepared.setup.plan;
  {
    const WaitingCheck check(*prepared.meeting, leadership, nullptr);
    Again again;
    if (!mandate.loss.empty() && plan.redundancy > 0 && !history.commits.empty()) {
      again = gather_again(*prepared.meeting, processes, plan.processes - 1, history.commits.back());
      if (again.nodes) return {std::move(again.nodes), true};
    }
    if (!again.regroups) {
      return {gather_nodes(*prepared.meeting, processes, plan.processes - 1, std::move(again.spare)), false};
    }
  }
  return regroup(prepared, leadership, processes, parts,
                 {.processes = plan.processes, .stayers = 0, .leaving = {}, .before = 0,
                  .state = history.commits.size(), .own = {}, .have_all = {}, .choose = {}},
                 nullptr);
}

Gathered regroup(const PreparedRun& prepared, runtime::Leadership* leadership,
                 const NodeProcessesPtr& processes, HeldParts& parts, Regrouping to,
                 const StopSignals* signals) {
  const WaitingCheck check(*prepared.meeting, leadership, signals);
  to.have_all = [&parts](const std::vector<wire::HeldPart>& held) { return parts.have_all(held); };
  to.choose = [&parts, count = to.processes](const std::vector<wire::HeldPart>& held) {
    return parts.choose(held, count);
  };
  return {gather_others(*prepared.meeting, processes, to), false};
}

}  // namespace troupe::deploy
