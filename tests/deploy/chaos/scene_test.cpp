#include "deploy/chaos/scene.h"

#include <gmock/gmock.h>

#include <stdexcept>

namespace troupe::tests {
namespace {

using deploy::host_of_process;
using deploy::Scene;
using testing::HasSubstr;

TEST(HostOfProcess, IsTheLastThatTookItsPlace) {
  const std::string output =
      "node 1 of 2: host-2, pid 7\nnode 2 of 2: host-1, pid 7\nstep 1  loss 5\n"
      "lost: process 2 (host-1, pid 7) is silent\n"
      "joined: process 2 (host-3, pid 9) in the place of process 2 (host-1, pid 7) is silent\n";

  EXPECT_EQ(host_of_process(output, 1), 2);
  EXPECT_EQ(host_of_process(output, 2), 3);
  EXPECT_THROW(host_of_process(output, 3), std::runtime_error);
}

TEST(Scene, TheHostOfTheProcessThatLeadsKeepsItsCable) {
  const auto error_of = [](const std::string& failpoint) -> std::string {
    try {
      Scene::check({actors::failpoint_of(failpoint)}, 3);
    } catch (const actors::FailpointError& error) {
      return error.what();
    }
    return "";
  };

  EXPECT_THAT(error_of("link crew/0@4:begin+10"), HasSubstr("found process 0, wanted 1 to 2"));
  EXPECT_THAT(error_of("oneway crew/3@4:begin+10"), HasSubstr("found process 3, wanted 1 to 2"));
  EXPECT_EQ(error_of("crash crew/0@4:begin"), "");
}

TEST(Scene, WithoutFailuresAroundItARunIsStartedAsItIs) {
  const std::filesystem::path folder = testing::TempDir();
  const std::vector<actors::Failpoint> plan{actors::failpoint_of("crash crew/0@4:begin")};
  Scene scene({.plan = plan, .run_folder = folder / "none", .log = folder / "log", .processes = 2, .disk_bytes = 0});

  const auto children = scene.children({"train", "run"});

  ASSERT_EQ(children.size(), 1u);
  EXPECT_EQ(children[0].arguments, (std::vector<std::string>{"train", "run"}));
  EXPECT_TRUE(children[0].by.empty());
}

}  // namespace
}  // namespace troupe::tests
