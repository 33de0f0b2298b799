// Glass law: every actor of a run can be looked at without its help, also when one has died, and
// when the process is stopped or killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/program.h"

namespace troupe::tests {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsSupersetOf;

class GlassOfARun : public ProgramTest {
 protected:
  ~GlassOfARun() override { end(); }

  /// Returns when step 3 has been committed.
  void begin(const std::string& arguments) {
    child_ = ::fork();
    if (child_ == 0) {
      const std::string line = command(arguments) + " > trained 2>&1";
      ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      ::_exit(127);
    }
    while (trained_hash(3) == "none") {
      ASSERT_EQ(::waitpid(child_, nullptr, WNOHANG), 0) << read_file(folder_ / "trained");
      ::usleep(1000);
    }
  }
  void stop() {
    ::kill(child_, SIGSTOP);
    int status = 0;
    ASSERT_EQ(::waitpid(child_, &status, WUNTRACED), child_);
    ASSERT_TRUE(WIFSTOPPED(status));
  }
  void end() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = 0;
  }

  /// The one process of the run.
  json look() {
    if (troupe("ps run --json") != 0) throw std::runtime_error(output_);
    // Notes on other processes' files that come and go stand before it.
    const size_t begin = std::min(output_.find("{\"processes\""), output_.size());
    const json processes = json::parse(output_.substr(begin)).at("processes");
    EXPECT_EQ(processes.size(), 1u);
    return processes.at(0);
  }
  static std::vector<json> lives(const json& process, const std::string& name) {
    std::vector<json> out;
    for (const json& actor : process.at("actors")) {
      if (actor.at("name") == name) out.push_back(actor);
    }
    return out;
  }

  pid_t child_ = 0;
};

/// Whom everybody stands under, up to the top.
void expect_whole_tree(const json& process) {
  std::map<std::string, std::string> parents;
  std::set<std::string> roles;
  for (const json& actor : process.at("actors")) {
    const std::string name = actor.at("name"), role = actor.at("role");
    roles.insert(role);
    parents[name] = actor.at("parent");
    EXPECT_TRUE(role == "supervisor" || name.starts_with(role + "/")) << name << " is a " << role;
  }
  for (const auto& [name, parent] : parents) {
    if (name == "troupe") {
      EXPECT_EQ(parent, "");
    } else {
      EXPECT_TRUE(parents.contains(parent)) << name << " stands under '" << parent << "'";
    }
  }
  EXPECT_THAT(roles, IsSupersetOf({"supervisor", "coordinator", "journal", "checkpointer",
                                   "trainer", "stage", "attention_shard", "router", "expert_shard",
                                   "optimizer_shard"}));
}

TEST_F(GlassOfARun, ShowsEveryActorAlsoWhenTheProcessIsStoppedAndWhenItIsKilled) {
  begin(train("--set train.steps=1000000"));
  const json running = look();

  stop();
  const json stopped = look(), later = look();
  end();
  const json ended = look();

  expect_whole_tree(running);
  EXPECT_NE(running.at("state"), "stopped");
  EXPECT_EQ(stopped.at("state"), "stopped");
  EXPECT_EQ(ended.at("state"), "ended");
  ASSERT_EQ(running.at("actors").size(), stopped.at("actors").size());
  ASSERT_EQ(stopped.at("actors").size(), ended.at("actors").size());
  for (size_t i = 0; i < stopped.at("actors").size(); ++i) {
    const json &then = stopped.at("actors")[i], &now = later.at("actors")[i];
    EXPECT_EQ(then.at("name"), running.at("actors")[i].at("name"));
    EXPECT_EQ(then.at("messages"), now.at("messages"));
    EXPECT_EQ(then.at("messages"), ended.at("actors")[i].at("messages"));
    EXPECT_LT(then.at("life_ns"), now.at("life_ns")) << "time goes on";
  }
  EXPECT_GE(lives(stopped, "coordinator/0.0.0").at(0).at("step"), 3);
  EXPECT_GT(lives(stopped, "stage/0.0.0").at(0).at("bytes"), 10'000) << "of the tensors it sent";
}

TEST_F(GlassOfARun, ShowsWhatBecameOfAnActorThatWasKilled) {
  begin(train("--set train.steps=1000000 --kill expert_shard@2:forward"));

  const json process = look();
  ASSERT_EQ(troupe("events run"), 0) << output_;

  const std::vector<json> all = lives(process, "expert_shard/0.0.0");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].at("incarnation"), 1);
  EXPECT_EQ(all[0].at("state"), "dead");
  EXPECT_EQ(all[0].at("end").at("reason"), "killed");
  EXPECT_EQ(all[1].at("incarnation"), 2);
  EXPECT_EQ(all[1].at("restarts"), 1);
  EXPECT_EQ(all[1].at("parent"), "model");
  EXPECT_TRUE(all[1].at("end").is_null());
  EXPECT_EQ(lives(process, "stage/0.0.0").at(0).at("restarts"), 0);
  const std::string shard = "  expert_shard/0.0.0  ";
  const size_t witness = output_.find("failpoint" + shard + "step 2  kill expert_shard/0@2:");
  const size_t ended = output_.find("actor_ended" + shard + "incarnation 1  killed");
  const size_t again = output_.find("actor_restarted" + shard + "incarnation 2  killed");
  EXPECT_NE(again, std::string::npos) << output_;
  EXPECT_LT(witness, ended) << output_;
  EXPECT_LT(ended, again) << output_;
}

}  // namespace
}  // namespace troupe::tests
