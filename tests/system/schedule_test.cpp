// The program with a run whose steps vary: sizes, rates, and two phases of longer sequences.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class ScheduledRun : public ProgramTest {
 protected:
  ScheduledRun() { write_run(""); }

  /// 12 steps: phases begin behind steps 5 and 9.
  void write_run(const std::string& more, const std::string& rate = "3e-3") {
    std::ofstream file(folder_ / "varied.textproto");
    file << R"(
model {
  file: ")" TROUPE_SOURCE_DIR R"(/config/models/tiny.textproto"
  with { vocab_size: 270 layers: 2 hidden_size: 32 max_positions: 24 }
}
data { text: "text.txt" tokenizer { train { vocab_size: 270 } } seq_len: 16 }
train {
  steps: 12
  optimizer { warmup_steps: 3 }
  schedule {
    learning_rate { start: )" << rate << R"( to { tokens: 600 value: 3e-4 shape: COSINE } }
    micro_batches { start: 1 to { tokens: 400 value: 4 shape: LINEAR } }
    gamma { start: 1e-2 to { tokens: 500 value: 0 } }
    mtp_weight { start: 0.3 to { tokens: 500 value: 0.1 } }
  }
  phase { after_steps: 5 seq_len: 48 micro_batch: 1 yarn { factor: 3 } learning_rate: 1e-3 }
  phase { after_steps: 9 seq_len: 96 micro_batches: 2 yarn { factor: 4 } }
  hash_every: 1
  eval_every: 1
  )" << more << R"(
}
checkpoint { every: 2 }
)";
  }

  int train_varied(const std::string& more = "") {
    return troupe("train varied.textproto --out run " + more);
  }

  nlohmann::json metrics(int step, const char* field) const {
    std::ifstream file(folder_ / "run/metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.at("step") == step && json.contains(field)) return json.at(field);
    }
    return nullptr;
  }

  nlohmann::json config_of(const std::string& model) const {
    return nlohmann::json::parse(read_file(folder_ / model / "config.json"));
  }
};

TEST_F(ScheduledRun, ShowsWhatVaries) {
  ASSERT_EQ(train_varied(), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("  tokens 32  seq_len 16  batch 2  "));
  EXPECT_THAT(output_, HasSubstr("  seq_len 96  batch 2  "));
  EXPECT_EQ(metrics(1, "consumed_tokens"), 32);
  EXPECT_EQ(metrics(1, "sequences"), 2);
  EXPECT_EQ(metrics(6, "seq_len"), 48);
  EXPECT_EQ(metrics(6, "lr"), 1e-3);
  EXPECT_EQ(metrics(12, "seq_len"), 96);
  EXPECT_EQ(metrics(1, "gamma"), 1e-2);
  EXPECT_EQ(metrics(12, "gamma"), 0);
  EXPECT_EQ(metrics(12, "mtp_weight"), 0.1);
}

TEST_F(ScheduledRun, ThreadsAndPlansDoNotShow) {
  ASSERT_EQ(train_varied("--set cluster.threads=1 --set parallel.data=1"), 0) << output_;
  const std::string hash = trained_hash(12);
  fs::remove_all(folder_ / "run");

  ASSERT_EQ(train_varied("--set parallel.data=3 --set parallel.pipeline=2 "
                         "--set parallel.expert=2 --random-kills 5:8"), 0) << output_;

  EXPECT_EQ(trained_hash(12), hash);
}

// A process that dies in the middle of a phase: the run goes on from a checkpoint of any phase.
TEST_F(ScheduledRun, GoesOnInTheMiddleOfAPhaseToTheSameBits) {
  ASSERT_EQ(train_varied(), 0) << output_;
  const std::string hash = trained_hash(12);

  for (const int step : {3, 7, 11}) {
    fs::remove_all(folder_ / "run");
    ASSERT_EQ(train_varied("--set train.steps=" + std::to_string(step)), 0) << output_;
    ASSERT_EQ(troupe("train --resume run --set train.steps=12"), 0) << output_;
    EXPECT_EQ(trained_hash(12), hash) << "ended after step " << step;
  }
  for (const auto& checkpoint : fs::directory_iterator(folder_ / "run/checkpoints")) {
    if (checkpoint.path().filename() != "step-11") fs::remove_all(checkpoint.path());
  }
  ASSERT_EQ(troupe("train --resume run --set train.steps=12"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("going on from state 11; 1 committed steps are done again"));
  ASSERT_EQ(troupe("replay run --step 8"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("step 8  hash " + trained_hash(8) + ": the recorded one"));
}

TEST_F(ScheduledRun, AKilledProcessGoesOnToTheSameBits) {
  ASSERT_EQ(train_varied(), 0) << output_;
  const std::string hash = trained_hash(12);
  fs::remove_all(folder_ / "run");

  const pid_t child = ::fork();
  if (child == 0) {
    const std::string line = command("train varied.textproto --out run > output 2>&1");
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(127);
  }
  while (::waitpid(child, nullptr, WNOHANG) == 0) {
    if (!metrics(7, "lr").is_null()) ::kill(child, SIGKILL);  // in the first phase
    ::usleep(1000);
  }

  ASSERT_EQ(troupe("train --resume run"), 0) << output_;
  EXPECT_EQ(trained_hash(12), hash);
}

// The report, 4.3: what is exported behind a phase reads its own positions.
TEST_F(ScheduledRun, ExportsTheYarnAndThePositionsOfTheStatesPhase) {
  ASSERT_EQ(train_varied("--set train.steps=8"), 0) << output_;
  ASSERT_EQ(troupe("train --resume run --set train.steps=12"), 0) << output_;

  const auto last = config_of("run/model");
  EXPECT_EQ(last.at("max_position_embeddings"), 96);
  EXPECT_EQ(last.at("rope_parameters").at("rope_type"), "yarn");
  EXPECT_EQ(last.at("rope_parameters").at("factor"), 4.0);
  EXPECT_EQ(last.at("rope_parameters").at("original_max_position_embeddings"), 24);
  ASSERT_EQ(troupe("checkpoint export run --step 8 --out eight"), 0) << output_;
  EXPECT_EQ(config_of("eight").at("max_position_embeddings"), 72);
  EXPECT_EQ(config_of("eight").at("rope_parameters").at("factor"), 3.0);

  // The program that reads the folder scores as the run's evaluator did.
  ASSERT_EQ(troupe("eval --model run/model --text run/heldout.txt --json"), 0) << output_;
  const auto scored = nlohmann::json::parse(output_);
  EXPECT_EQ(scored.at("context"), 96);
  EXPECT_NEAR(scored.at("loss").get<double>(),
              metrics(12, "heldout_nats").get<double>() /
                  metrics(12, "heldout_tokens").get<double>(), 2e-2);
}

TEST_F(ScheduledRun, KeepsItsRecipeWhenItIsResumed) {
  ASSERT_EQ(train_varied("--set train.steps=7"), 0) << output_;

  EXPECT_EQ(troupe("train --resume run --set train.schedule.gamma.start=0"), 1);
  EXPECT_THAT(output_, HasSubstr("a resumed run keeps its recipe, only train.steps may change"));
  EXPECT_EQ(troupe("train --resume run --set train.phase[0].seq_len=32"), 1);
  EXPECT_THAT(output_, HasSubstr("a resumed run keeps its recipe"));
  EXPECT_EQ(troupe("train --resume run --set train.spike.policy=SKIP"), 1);

  const std::string text = read_file(folder_ / "run/run.textproto");
  const size_t at = text.find("seq_len: 48");
  ASSERT_NE(at, std::string::npos) << text;
  std::ofstream(folder_ / "run/run.textproto")
      << text.substr(0, at) << "seq_len: 40" << text.substr(at + 11);
  EXPECT_EQ(troupe("train --resume run"), 1);
  EXPECT_THAT(output_, HasSubstr("run.textproto is not that of the journal: step 6 had consumed"));
}

TEST_F(ScheduledRun, SaysAndCountsSpikes) {
  write_run("spike { window: 2 threshold: 0.01 }", "0");  // the loss goes up and down
  ASSERT_EQ(train_varied(), 0) << output_;

  EXPECT_THAT(output_, HasSubstr(", a spike: the mean is "));
  EXPECT_THAT(output_, HasSubstr("  spike\n"));
  EXPECT_GT(metrics(12, "spikes"), 0);
  ASSERT_EQ(troupe("events run"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("a spike: the mean is "));
}

TEST_F(ScheduledRun, StopsBeforeASpikeIfItsPolicyIsToStop) {
  write_run("spike { window: 2 threshold: 0.01 policy: STOP }", "0");
  EXPECT_EQ(train_varied(), 1);
  EXPECT_THAT(output_, HasSubstr("; train.spike.policy is STOP"));
  const std::string said = output_.substr(output_.find("has loss"));

  EXPECT_EQ(troupe("train --resume run"), 1) << "the step is what it was";
  EXPECT_THAT(output_, HasSubstr(said));
}

TEST_F(ScheduledRun, ADryRunListsThePhases) {
  ASSERT_EQ(troupe("train varied.textproto --dry-run"), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("step        at most 4 micro-batches; 12 steps\n"
                                 "  from step 1: a schedule of micro-batches of 2 sequences of 16 "
                                 "tokens\n"));
  EXPECT_THAT(output_, HasSubstr("  from step 10: 2 micro-batches of 1 sequences of 96 tokens, "
                                 "positions x 4\n"));
}

}  // namespace
}  // namespace troupe::tests
