// Laws 3, 4 and 6 in whole runs of the program: actors are killed in it, and so is the process.
#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/program.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;

class Kills : public ProgramTest {
 protected:
  static std::string run(const std::string& more, const std::string& out = "run") {
    std::string arguments = train("--set checkpoint.every=4 " + more);
    arguments.replace(arguments.find("--out run"), 9, "--out " + out);
    return arguments;
  }

  std::string last_hash() const {
    const size_t at = output_.rfind("hash ");
    return at == std::string::npos ? "none in: " + output_ : output_.substr(at + 5, 16);
  }

  /// Texts of a kind of events of `run`.
  std::vector<std::string> events(const std::string& kind) {
    EXPECT_EQ(troupe("events run --json --kind " + kind), 0) << output_;
    std::vector<std::string> texts;
    std::istringstream lines(output_);
    for (std::string line; std::getline(lines, line);) {
      texts.push_back(nlohmann::json::parse(line).at("text"));
    }
    return texts;
  }
};

TEST_F(Kills, RandomOnesOfAllRolesEndInTheQuietHash) {
  ASSERT_EQ(troupe(run("", "quiet")), 0) << output_;
  const std::string wanted = last_hash();
  const char* layouts[] = {"", "--set parallel.data=2 --set parallel.expert=2 ",
                           "--set parallel.pipeline=2 --set parallel.optimizer=3 "};
  for (int seed = 1; seed <= 6; ++seed) {
    std::filesystem::remove_all(folder_ / "run");

    ASSERT_EQ(troupe(run(layouts[seed % 3] + ("--random-kills " + std::to_string(seed) + ":8"))), 0)
        << output_;

    EXPECT_EQ(last_hash(), wanted) << "seed " << seed << "\n" << output_;
    EXPECT_THAT(output_, testing::Not(HasSubstr("was not reached")));
    const auto witnesses = events("failpoint"), restarts = events("actor_restarted");
    EXPECT_EQ(witnesses.size(), 8u) << "seed " << seed << "\n" << output_;
    EXPECT_EQ(restarts.size(), 8u) << "seed " << seed;
  }
}

// The recipe of DeepSeek-V3: FP8 or BF16, BF16 moments, an EMA; what is computed again in backward,
// who does it and who dies shows in no bit.
TEST_F(Kills, ChangeNothingInRecipesOfLowPrecision) {
  std::set<std::string> hashes;
  for (const std::string precision : {"BF16", "FP8"}) {
    const std::string recipe = "--set train.optimizer.moments=BF16 "
                               "--set train.optimizer.ema_decay=0.9 --set train.precision=" +
                               precision + " ";
    ASSERT_EQ(troupe(run(recipe, "quiet")), 0) << output_;
    const std::string wanted = last_hash();
    std::filesystem::remove_all(folder_ / "quiet");
    std::filesystem::remove_all(folder_ / "run");
    hashes.insert(wanted);

    ASSERT_EQ(troupe(run(recipe + "--set train.recompute=true --set parallel.data=2 "
                                  "--set parallel.expert=2 --set parallel.pipeline=2 "
                                  "--random-kills 3:8")),
              0)
        << output_;

    EXPECT_EQ(last_hash(), wanted) << precision << "\n" << output_;
    EXPECT_EQ(events("actor_restarted").size(), 8u) << output_;
  }
  EXPECT_EQ(hashes.size(), 2u);
}

TEST_F(Kills, EveryKindOfFailureIsToldAndChangesNothing) {
  ASSERT_EQ(troupe(run("", "quiet")), 0) << output_;
  const std::string wanted = last_hash();

  ASSERT_EQ(troupe(run("--set cluster.step_deadline=1.5 --kill optimizer_shard@3:apply "
                       "--fail expert_shard@5:backward --drop router@7:forward "
                       "--delay attention_shard@9:forward+20 --kill coordinator@10:commit")), 0)
      << output_;

  EXPECT_EQ(last_hash(), wanted);
  EXPECT_THAT(output_, HasSubstr("failpoint kill optimizer_shard/0@3:apply fired in optimizer_shard/0.0.0"));
  EXPECT_THAT(output_, HasSubstr("restart optimizer_shard/0.0.0 life 2: killed"));
  EXPECT_THAT(output_, HasSubstr("restart expert_shard/0.0.0 life 2: failure: failpoint fail expert_shard/0@5"));
  EXPECT_THAT(output_, HasSubstr("has not answered within 1500 ms"));
  EXPECT_THAT(output_, HasSubstr("restart coordinator/0.0.0 life 2: killed"));
}

TEST_F(Kills, AFailpointFiresOnceInARunAlsoAcrossItsProcesses) {
  const std::string kill = " --kill stage@3:begin --kill trainer@7:forward";
  ASSERT_EQ(troupe(run("--set train.steps=6 --set train.optimizer.decay=CONSTANT" + kill)), 0)
      << output_;
  std::filesystem::remove_all(folder_ / "run/checkpoints");  // steps 1 to 6 are replayed

  ASSERT_EQ(troupe("train --resume run --set train.steps=8" + kill), 0) << output_;

  EXPECT_THAT(events("failpoint"), testing::ElementsAre("kill stage/0@3:begin", "kill trainer/0@7:forward"));
}

TEST_F(Kills, AFailpointThatCannotBeIsRefusedBeforeThereIsARun) {
  for (const auto& [option, text] : std::map<std::string, std::string>{
           {"--kill stage@1:commit", "stage has no phase 'commit'"},
           {"--kill stage/9@1:begin", "actors of role stage, counted from 0"},
           {"--drop coordinator@1:begin", "nothing of it can be dropped"},
           {"--random-kills x", "found 'x', wanted SEED or SEED:COUNT"}}) {
    EXPECT_EQ(troupe(run(option)), 1) << option;
    EXPECT_THAT(output_, HasSubstr(text));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "run")) << option;
  }
}

}  // namespace
}  // namespace troupe::tests
