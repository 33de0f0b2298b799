// deploy/kubernetes: its objects are what Kubernetes reads, and its run can be planned.
#include <gmock/gmock.h>

#include "config/text/paths.h"
#include "tests/program.h"
#include "tests/system/background.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;

class Kubernetes : public ProgramTest {};

TEST_F(Kubernetes, TheObjectsKeepTheirSchemasAndTheRunCanBePlanned) {
  Background check("PYTHONPATH='" + (config::cache_folder() / "python").string() +
                       "' exec python3 " TROUPE_SOURCE_DIR
                       "/tests/system/kubernetes_objects.py " TROUPE_SOURCE_DIR
                       "/deploy/kubernetes/troupe.yaml",
                   folder_ / "check");
  const int code = check.wait();
  if (code == 77 || code == 127) GTEST_SKIP() << check.text();
  ASSERT_EQ(code, 0) << check.text();

  std::string run = check.text();
  for (const auto& [image, here] :
       {std::pair<std::string, std::string>{"/usr/share/troupe", TROUPE_SOURCE_DIR},
        {"/runs/text.txt", "text.txt"}}) {
    ASSERT_THAT(run, HasSubstr(image));
    run.replace(run.find(image), image.size(), here);
  }
  std::ofstream(folder_ / "run.textproto") << run;
  EXPECT_EQ(troupe("train run.textproto --nodes 4 --dry-run"), 0) << output_;
}

}  // namespace
}  // namespace troupe::tests
