// deploy/systemd: the units are what systemd reads, and their command lines are a run.
#include <gmock/gmock.h>

#include "tests/system/background.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::string with(std::string text, const std::string& part, const std::string& other) {
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + other.size())) {
    text.replace(at, part.size(), other);
  }
  return text;
}

/// A unit of ours, for the program of this build and files of `folder`.
std::string unit(const std::string& name, const std::filesystem::path& folder) {
  const std::string text = read_file(TROUPE_SOURCE_DIR "/deploy/systemd/" + name);
  return with(with(text, "/usr/bin/troupe", TROUPE_BINARY_DIR "/troupe"), "/etc/troupe",
              folder.string());
}

class Systemd : public SpreadProgramTest {
 protected:
  /// The line that a service starts, as a shell reads it.
  std::string command_of(const std::string& name, const std::string& instance) const {
    const std::string text = unit(name, folder_);
    const size_t at = text.find("\nExecStart=") + 11;
    const std::string line = text.substr(at, text.find('\n', at) - at);
    return "cd '" + folder_.string() +
           "' && export TROUPE_SECRET=sixteen-bytes-or-more TROUPE_NODES=2 "
           "TROUPE_LISTEN=127.0.0.1:0 TROUPE_NETWORK= && exec " +
           with(with(line, "%i", instance), "$$", "$");
  }
};

TEST_F(Systemd, ReadsTheUnitsWithoutAWord) {
  if (std::system("command -v systemd-analyze > /dev/null") != 0) {
    GTEST_SKIP() << "found no systemd-analyze on this machine";
  }
  for (const char* name : {"troupe-node@.service", "troupe-run@.service"}) {
    std::ofstream(folder_ / name) << unit(name, folder_);
    Background verify(
        "cd '" + folder_.string() + "' && exec systemd-analyze verify --man=no ./" + name,
        folder_ / "verify");

    EXPECT_EQ(verify.wait(), 0);
    EXPECT_THAT(verify.text(), IsEmpty()) << name;
  }
}

TEST_F(Systemd, TheCommandLinesAreARunAndTheNextStartGoesOn) {
  std::filesystem::copy(folder_ / "quiet_run/run.textproto", folder_ / "first.textproto");
  for (const char* time : {"first", "next"}) {
    Background run(command_of("troupe-run@.service", "first"),
                   folder_ / (std::string(time) + "_run"));
    ASSERT_TRUE(run.says("troupe node --join ")) << run.text();
    const std::string text = run.text();
    const size_t at = text.find("127.0.0.1:");
    Background node(command_of("troupe-node@.service", text.substr(at, text.find('\n', at) - at)),
                    folder_ / "node");

    EXPECT_EQ(run.wait(), 0) << run.text();
    EXPECT_EQ(node.wait(), 0) << node.text();
    EXPECT_EQ(last_hash(run.text()), wanted_) << time;
  }
}

}  // namespace
}  // namespace troupe::tests
