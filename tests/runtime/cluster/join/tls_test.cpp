#include "runtime/cluster/join/tls.h"

#include <gmock/gmock.h>

#include <fstream>
#include <functional>

#include "runtime/cluster/cluster_error.h"
#include "tests/certificates.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using runtime::TlsFiles;
using testing::AllOf;
using testing::HasSubstr;

class Tls : public testing::Test {
 protected:
  Tls() : folder_(fs::path(testing::TempDir()) /
                  (std::string("troupe_tls_") +
                   testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Tls() override { fs::remove_all(folder_); }
  void SetUp() override {
    if (!Authority::is_possible()) GTEST_SKIP() << "found no openssl command";
  }

  static std::string objection(const TlsFiles& files) {
    try {
      runtime::check_tls(files);
    } catch (const runtime::ClusterError& error) {
      return error.what();
    }
    return "none";
  }

  const fs::path folder_;
};

TEST_F(Tls, WhatAnAuthorityHasSignedPasses) {
  const TlsFiles files = Authority(folder_, "ours").sign("node");

  EXPECT_EQ(objection(files), "none");
}

TEST_F(Tls, WhatCannotServeIsNamedWithItsReason) {
  const Authority ours(folder_, "ours"), theirs(folder_, "theirs");
  const TlsFiles node = ours.sign("node"), other = ours.sign("other"),
                 stranger = theirs.sign("stranger");
  std::ofstream(folder_ / "text.pem") << "no certificate\n";
  const std::string text = (folder_ / "text.pem").string();

  EXPECT_THAT(objection({node.certificate, other.key, node.authority}),
              AllOf(HasSubstr("--tls-key: found no key of"), HasSubstr("key values mismatch")));
  EXPECT_THAT(
      objection({node.certificate, node.key, stranger.authority}),
      AllOf(HasSubstr("node.pem is not accepted by the authority in"), HasSubstr("theirs.pem")));
  EXPECT_THAT(objection({text, node.key, node.authority}),
              HasSubstr("--tls-certificate: found no certificate in"));
  EXPECT_THAT(objection({node.certificate, node.key, text}),
              HasSubstr("--tls-ca: found no certificate in"));
  EXPECT_THAT(objection({node.certificate, node.key + ".not", node.authority}),
              AllOf(HasSubstr("--tls-key: cannot read"), HasSubstr("No such file")));
}

TEST_F(Tls, AKeyThatOthersMayReadIsRefused) {
  const TlsFiles files = Authority(folder_, "ours").sign("node");
  fs::permissions(files.key, fs::perms(0640));

  EXPECT_THAT(objection(files), AllOf(HasSubstr("found the mode 640"), HasSubstr("wanted 600")));
}

}  // namespace
}  // namespace troupe::tests
