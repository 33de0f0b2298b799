// Runs whose control plane is TLS.
#include <gmock/gmock.h>

#include <optional>

#include "tests/certificates.h"
#include "tests/system/family.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

class TlsRun : public SpreadProgramTest {
 protected:
  void SetUp() override {
    SpreadProgramTest::SetUp();
    if (IsSkipped()) return;
    if (!Authority::is_possible()) GTEST_SKIP() << "found no openssl command";
    ours_.emplace(folder_, "ours");
    leader_ = ours_->sign("leader");
    node_ = ours_->sign("node");
  }

  static std::string options(const runtime::TlsFiles& files) {
    return " --tls-certificate " + files.certificate + " --tls-key " + files.key + " --tls-ca " +
           files.authority;
  }
  std::string leader(const std::string& arguments) const {
    return with_secret(arguments + " --nodes 2 --listen 127.0.0.1:0" + options(leader_));
  }
  /// Joins a leader that waits.
  std::string node(Background& leader, const std::string& more) const {
    EXPECT_TRUE(leader.says("troupe node --join ")) << leader.text();
    const std::string text = leader.text();
    const size_t at = text.find("127.0.0.1:");
    return with_secret("node --join " + text.substr(at, text.find('\n', at) - at) + more);
  }
  /// The ports of a process, a line each, that show the leader's certificate to whoever has one.
  std::string ports_with_tls(const Background& process) const {
    const std::string lines =
        "for port in $(ss -Hltnp | grep pid=" + std::to_string(leader_of(process)) +
        ", | sed 's/.*127.0.0.1:\\([0-9]*\\).*/\\1/'); do "
        "timeout 5 openssl s_client -connect 127.0.0.1:$port -cert node.pem -key node.key "
        "-CAfile ours.pem < /dev/null 2>&1 | grep -q 'subject=.*leader' && echo $port; done";
    Background probe("cd '" + folder_.string() + "' && { " + lines + "; }", folder_ / "probe");
    probe.wait();
    return probe.text();
  }

  std::optional<Authority> ours_;
  runtime::TlsFiles leader_, node_;
};

TEST_F(TlsRun, EndsInTheHashOfOneProcess) {
  Background run(leader(train("")), folder_ / "run_output");
  Background first(node(run, options(node_)), folder_ / "first");

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_EQ(first.wait(), 0) << first.text();
  EXPECT_EQ(last_hash(run.text()), wanted_);
}

TEST_F(TlsRun, ShowsItsCertificateOnTheControlPlane) {
  Background run(leader(long_train("")), folder_ / "run_output");
  Background first(node(run, options(node_)), folder_ / "first");
  ASSERT_TRUE(run.says("step 2 ")) << run.text();

  EXPECT_THAT(ports_with_tls(run), MatchesRegex("[0-9]+\n"));
  EXPECT_FALSE(run.has_ended()) << "a stranger's connection has ended the run";
  run.kill(SIGINT);
}

TEST_F(TlsRun, ANodeWithoutACertificateIsToldAndOneOfAnotherAuthorityEndsTheRun) {
  const runtime::TlsFiles stranger = Authority(folder_, "theirs").sign("stranger");
  Background run(leader(train("")), folder_ / "run_output");

  Background bare(node(run, ""), folder_ / "bare");
  EXPECT_EQ(bare.wait(), 1);
  EXPECT_THAT(bare.text(), HasSubstr("found a node without TLS, wanted with TLS"));

  Background other(node(run, options(stranger)), folder_ / "other");
  EXPECT_EQ(other.wait(), 1);
  EXPECT_THAT(other.text(), HasSubstr("cannot reach the control plane at 127.0.0.1:"));
  EXPECT_EQ(run.wait(), 1);
  EXPECT_THAT(run.text(), HasSubstr("cannot begin: cannot reach the control plane"));
}

TEST_F(TlsRun, OptionsOfTlsGoTogetherAndAreLookedAtFirst) {
  EXPECT_EQ(troupe("node --join 127.0.0.1:1 --tls-certificate node.pem"), 2);
  EXPECT_THAT(output_, HasSubstr("--tls-certificate requires --tls-"));
  std::filesystem::remove(node_.key);
  EXPECT_EQ(troupe("node --join 127.0.0.1:1" + options(node_)), 1);
  EXPECT_THAT(output_, HasSubstr("--tls-key: cannot read"));
}

}  // namespace
}  // namespace troupe::tests
