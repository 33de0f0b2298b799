#include "deploy/line_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class LineFileTest : public testing::Test {
 protected:
  LineFileTest()
      : path_(fs::path(testing::TempDir()) /
              ("line_file_" +
               std::string(testing::UnitTest::GetInstance()->current_test_info()->name()))) {
    fs::remove(path_);
  }
  ~LineFileTest() override { fs::remove(path_); }
  const fs::path path_;
};

TEST_F(LineFileTest, LinesAreAddedToWhatIsThere) {
  deploy::LineFile(path_).add("one");
  deploy::LineFile(path_).add("two");

  EXPECT_EQ(read(path_), "one\ntwo\n");
}

TEST_F(LineFileTest, APartOfALineThatAKilledProcessHasLeftGoes) {
  deploy::LineFile file(path_);  // open all the while, as by who leads next
  file.add("one");
  std::ofstream(path_, std::ios::app) << "{\"step\": 2, \"lo";
  file.add("two");
  EXPECT_EQ(read(path_), "one\ntwo\n");

  std::ofstream(path_) << "nothing but a part";
  file.add("three");
  EXPECT_EQ(read(path_), "three\n");
}

// A limit on the file's size is met as a full disk is: a part of the line is written, then nothing.
TEST_F(LineFileTest, ALineThatDoesNotFitLeavesNoPart) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10, 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    deploy::LineFile file(path_);
    file.add("12345");
    try {
      file.add("123456789");
    } catch (const std::runtime_error&) {
      file.add("123");
      ::_exit(0);
    }
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);

  EXPECT_EQ(status, 0);
  EXPECT_EQ(read(path_), "12345\n123\n");
}

TEST_F(LineFileTest, AFolderIsNamedInTheError) {
  try {
    deploy::LineFile file(testing::TempDir());
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(testing::TempDir()));
  }
}

}  // namespace
}  // namespace troupe::tests
