// The program with a run over a mixture of sources: its ratios, its held-out losses, and its bits
// when processes and actors are killed (laws 3 and 4: what is drawn is a function of how many
// sequences were consumed).
#include <gmock/gmock.h>

#include <csignal>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/system/background.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class MixedRun : public ProgramTest {
 protected:
  MixedRun() {
    for (const char letter : {'a', 'k', 'u'}) write_text(letter);
    std::ofstream(folder_ / "mixed.textproto") << R"(
model {
  file: ")" TROUPE_SOURCE_DIR R"(/config/models/tiny.textproto"
  with { vocab_size: 270 layers: 2 hidden_size: 32 }
}
data {
  tokenizer { train { vocab_size: 270 } } seq_len: 16 holdout: 0.1
  source { name: "prose" jsonl: "a.jsonl" weight: 4.5 }
  source { name: "code" jsonl: "k.jsonl" weight: 2 }
  source { name: "sums" jsonl: "u.jsonl" weight: 1 holdout: 0 }
}
train {
  steps: 12 micro_batch: 3 micro_batches: 2 eval_every: 4 hash_every: 1
  optimizer { ema_decay: 0.9 }
}
checkpoint { every: 3 }
)";
  }

  /// Documents of six letters from `first` on.
  void write_text(char first) const {
    std::ofstream file(folder_ / (std::string(1, first) + ".jsonl"));
    for (int i = 0; i < 60; ++i) {
      std::string text;
      for (int j = 0; j < 30 + i % 13; ++j) text += static_cast<char>(first + (i + j * j) % 6);
      file << json{{"text", text}} << "\n";
    }
  }

  int train_mixed(const std::string& more = "") {
    return troupe("train mixed.textproto --out run " + more);
  }

  /// The metrics of a step that has `field`.
  static json metrics(const fs::path& run, int step, const char* field) {
    std::ifstream file(run / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto found = json::parse(line);
      if (found.at("step") == step && found.contains(field)) return found.at(field);
    }
    return nullptr;
  }

  static std::vector<json> sequences(const fs::path& run) {
    std::vector<json> steps;
    for (int step = 1; step <= 12; ++step) {
      steps.push_back(metrics(run, step, "sequences_by_source"));
    }
    return steps;
  }
};

TEST_F(MixedRun, TrainsOnItsSourcesInTheirExactRatios) {
  ASSERT_EQ(train_mixed(), 0) << output_;

  const std::map<std::string, double> weights{{"prose", 4.5}, {"code", 2}, {"sums", 1}};
  std::map<std::string, int> counts;
  int all = 0;
  for (const json& step : sequences(folder_ / "run")) {
    ASSERT_EQ(step.size(), 3u) << step;
    for (const auto& [source, n] : step.items()) counts[source] += n.get<int>();
    all += 6;
    for (const auto& [source, weight] : weights) {
      EXPECT_LT(std::abs(counts[source] - all * weight / 7.5), 1) << source << " of " << all;
    }
  }
  EXPECT_EQ(counts["prose"] + counts["code"] + counts["sums"], 72);
}

TEST_F(MixedRun, ScoresTheHeldOutTextOfEachSource) {
  ASSERT_EQ(train_mixed(), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("held-out  state 12  loss "));
  EXPECT_THAT(output_, HasSubstr("  source prose\n"));
  EXPECT_THAT(output_, HasSubstr("  source code\n"));
  const fs::path run = folder_ / "run";
  const json sources = metrics(run, 12, "heldout_sources");
  ASSERT_EQ(sources.size(), 2u) << sources;  // nothing of "sums" is held out
  for (const char* field : {"nats", "ema_nats", "tokens", "bytes"}) {
    const double all = metrics(run, 12, ("heldout_" + std::string(field)).c_str());
    const double sum = sources["prose"][field].get<double>() + sources["code"][field].get<double>();
    EXPECT_NEAR(sum, all, 1e-9 * all) << field;
  }

  ASSERT_EQ(troupe("eval --model run/model --json --text run/heldout/0-prose.txt "
                   "--text run/heldout/1-code.txt"), 0) << output_;
  const json scored = json::parse(output_);
  for (const auto& [file, source] : {std::pair{"run/heldout/0-prose.txt", "prose"},
                                     {"run/heldout/1-code.txt", "code"}}) {
    const double wanted = sources[source]["bits_per_byte"];
    // In a text file documents stand side by side, which adds a line's end and takes ends away.
    EXPECT_NEAR(scored["texts"][file]["bits_per_byte"], wanted, 0.1 * wanted) << output_;
    EXPECT_GT(scored["texts"][file]["tokens"], 0);
  }
  ASSERT_EQ(troupe("eval --model run/model --text run/heldout/0-prose.txt "
                   "--text run/heldout/1-code.txt"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("  text run/heldout/1-code.txt\n"));
}

TEST_F(MixedRun, KilledActorsAndProcessesChangeNothing) {
  ASSERT_EQ(train_mixed(), 0) << output_;
  const std::string hash = trained_hash(12);
  const auto wanted = sequences(folder_ / "run");
  const json heldout = metrics(folder_ / "run", 12, "heldout_sources");

  for (const char* how : {"--random-kills 3:8 --set parallel.data=2 --set parallel.expert=2",
                          "--nodes 2 --kill expert_shard@3:backward --set cluster.threads=1"}) {
    fs::remove_all(folder_ / "run");
    ASSERT_EQ(train_mixed(how), 0) << output_;
    EXPECT_EQ(trained_hash(12), hash) << how;
    EXPECT_EQ(sequences(folder_ / "run"), wanted) << how;
    EXPECT_EQ(metrics(folder_ / "run", 12, "heldout_sources"), heldout) << how;
  }
}

// The paths of its sources are found again from wherever it is resumed.
TEST_F(MixedRun, GoesOnFromAnotherFolderWhereItWasKilled) {
  ASSERT_EQ(train_mixed(), 0) << output_;
  const std::string hash = trained_hash(12);
  const auto wanted = sequences(folder_ / "run");
  const fs::path elsewhere = fs::path(testing::TempDir()) / (name() + "_elsewhere");
  const fs::path run = elsewhere / "run";

  for (const int step : {2, 7, 11}) {
    fs::remove_all(elsewhere);
    fs::create_directories(elsewhere);
    Background first(command("train mixed.textproto --out " + run.string()), elsewhere / "first");
    ASSERT_TRUE(first.says("step " + std::to_string(step) + "  loss")) << first.text();
    first.kill(SIGKILL);
    Background second("cd / && exec " TROUPE_BINARY_DIR "/troupe train --resume " + run.string(),
                      elsewhere / ("second" + std::to_string(step)));

    EXPECT_EQ(second.wait(), 0) << second.text();

    EXPECT_THAT(second.text(), HasSubstr("hash " + hash)) << "killed behind step " << step;
    EXPECT_EQ(sequences(run), wanted) << "killed behind step " << step;
  }
  fs::remove_all(elsewhere);
}

}  // namespace
}  // namespace troupe::tests
