#include "runtime/telemetry/cell_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "runtime/telemetry/cells.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using namespace runtime;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CellFileTest : public testing::Test {
 protected:
  CellFileTest()
      : folder_(fs::path(testing::TempDir()) /
                ("cell_file_" + std::to_string(::getpid()) + "_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(folder_);
  }
  ~CellFileTest() override { fs::remove_all(folder_); }

  /// The file of a process that made its cells for `run_folder` in /dev/shm and was killed.
  static fs::path file_of_killed(const std::string& run_folder) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const auto glass = Glass::create(run_folder);
      (void)!::write(ready[1], glass->path().data(), glass->path().size());
      ::close(ready[1]);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char path[4096] = {};
    EXPECT_GT(::read(ready[0], path, sizeof path - 1), 0);
    ::close(ready[0]);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return path;
  }

  const fs::path folder_;
};

TEST_F(CellFileTest, AllOfAFilesSpaceIsReserved) {
  const CellMemory made = make_cell_memory({folder_});
  struct stat info {};
  ASSERT_EQ(::stat(made.path.c_str(), &info), 0);

  EXPECT_EQ(static_cast<size_t>(info.st_size), cell_file_bytes);
  EXPECT_GE(static_cast<size_t>(info.st_blocks) * 512, cell_file_bytes);
  EXPECT_EQ(info.st_mode & 0777u, 0600u);
  EXPECT_THAT(made.note, IsEmpty());
  release_cell_memory(made);
  EXPECT_FALSE(fs::exists(made.path));
}

TEST_F(CellFileTest, TheNextFolderIsTakenWhereOneHasNoRoom) {
  const CellMemory made = make_cell_memory({folder_ / "missing", folder_});

  EXPECT_EQ(made.path.parent_path(), folder_);
  EXPECT_THAT(made.note, HasSubstr("missing takes no file"));
  release_cell_memory(made);
}

TEST_F(CellFileTest, WithoutAnyFolderCellsAreInPlainMemory) {
  const CellMemory made = make_cell_memory({folder_ / "missing"});

  EXPECT_TRUE(made.path.empty());
  EXPECT_THAT(made.note, HasSubstr("troupe ps cannot see this process"));
  static_cast<char*>(made.memory)[cell_file_bytes - 1] = 1;
  release_cell_memory(made);
}

// A limit on the file's size is met as a full file system is, and must not end the process.
TEST_F(CellFileTest, AFolderWithoutRoomIsNotASignal) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{cell_file_bytes - 1, cell_file_bytes - 1};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const CellMemory made = make_cell_memory({folder_});
    ::_exit(made.path.empty() && fs::is_empty(folder_) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);

  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(CellFileTest, SeveralOfOneProcessHaveNamesOfTheirOwn) {
  const CellMemory one = make_cell_memory({folder_});
  const CellMemory two = make_cell_memory({folder_});
  // Without a header nobody can tell that it is dead.
  EXPECT_NE(one.path, two.path);
  EXPECT_THAT(find_cell_files({folder_}), ElementsAre(one.path, two.path));

  release_cell_memory(one);
  release_cell_memory(two);
}

TEST_F(CellFileTest, OnlyThisUsersRegularFilesOfTheNameCount) {
  const std::string prefix = "troupe-" + std::to_string(::geteuid()) + "-";
  fs::create_directory(folder_ / (prefix + "1"));
  fs::create_symlink("/etc/passwd", folder_ / (prefix + "2"));
  std::ofstream(folder_ / "troupe-x-3").put('x');

  EXPECT_THAT(find_cell_files({folder_, folder_ / "missing"}), IsEmpty());
}

TEST_F(CellFileTest, AnOrderlyEndRemovesTheFileAndAKillLeavesIt) {
  std::string path;
  {
    const auto glass = Glass::create(folder_);
    path = glass->path();
    EXPECT_TRUE(fs::exists(path));
    const CellFileOwner owner = owner_of(path);
    EXPECT_EQ(owner.pid, ::getpid());
    EXPECT_TRUE(owner.is_alive && owner.is_judgeable);
    EXPECT_EQ(owner.run_folder, fs::weakly_canonical(folder_).string());
  }
  EXPECT_FALSE(fs::exists(path));

  const fs::path left = file_of_killed(folder_);
  EXPECT_TRUE(fs::exists(left));
  EXPECT_FALSE(owner_of(left).is_alive);
  fs::remove(left);
}

TEST_F(CellFileTest, TheNextStartRemovesLeftoversOfItsRunFolderAlone) {
  const fs::path same = file_of_killed(folder_);
  const fs::path other = file_of_killed(folder_ / "other");

  const auto glass = Glass::create(folder_);

  EXPECT_FALSE(fs::exists(same));
  EXPECT_TRUE(fs::exists(other));
  EXPECT_TRUE(fs::exists(glass->path()));
  fs::remove(other);
}

TEST_F(CellFileTest, LeftoversOlderThanADayGo) {
  const fs::path old = file_of_killed(folder_ / "other");
  const timespec yesterday[] = {{::time(nullptr) - 25 * 3600, 0}, {::time(nullptr) - 25 * 3600, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, old.c_str(), yesterday, 0), 0);

  const auto glass = Glass::create(folder_);

  EXPECT_FALSE(fs::exists(old));
}

TEST_F(CellFileTest, ALivingProcessKeepsItsFile) {
  const auto first = Glass::create(folder_);
  const timespec yesterday[] = {{::time(nullptr) - 25 * 3600, 0}, {::time(nullptr) - 25 * 3600, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, first->path().c_str(), yesterday, 0), 0);

  const auto second = Glass::create(folder_);

  EXPECT_TRUE(fs::exists(first->path()));
  EXPECT_NE(first->path(), second->path());
}

TEST_F(CellFileTest, AForkedChildLeavesItsParentsFile) {
  auto glass = Glass::create(folder_);
  const std::string path = glass->path();

  const pid_t child = ::fork();
  if (child == 0) {
    glass.reset();
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);

  EXPECT_TRUE(fs::exists(path));
}

}  // namespace
}  // namespace troupe::tests
