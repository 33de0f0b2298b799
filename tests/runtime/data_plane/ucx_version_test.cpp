// The same tests with a UCX that is loaded at run time, newer than the headers of the build.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>

#include "tests/program.h"
#include "tests/runtime/data_plane/planes.h"

namespace troupe::tests {
namespace {

std::filesystem::path cache() {
  if (const char* folder = std::getenv("TROUPE_CACHE")) return folder;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home ? home : "/") / ".cache/troupe";
}

TEST(UcxVersion, TheTestsOfThePlaneHoldWithANewerLibraryToo) {
  const std::string version = "1.22.0";
  const auto library = cache() / "ucx" / version;
  if (!runtime::has_ucx()) GTEST_SKIP() << runtime::why_no_ucx();
  if (!std::filesystem::exists(library / "libucp.so.0")) {
    GTEST_SKIP() << library << " is not there: deploy/install --tests fetches it";
  }
  const std::string output = testing::TempDir() + "ucx_version_test";

  // A process of its own: the library is chosen when a program is loaded.
  const std::string command = "LD_LIBRARY_PATH='" + library.string() +
                              "' TROUPE_TEST_UCX=" + version + " " +
                              std::filesystem::read_symlink("/proc/self/exe").string() +
                              " --gtest_filter='*Wires/*' > '" + output + "' 2>&1";
  const int status = std::system(command.c_str());

  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << read_file(output);
}

}  // namespace
}  // namespace troupe::tests
