#include "runtime/cluster/journal/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "runtime/cluster/journal/journal_format.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;

fs::path new_folder(const std::string& name) {
  const fs::path folder = fs::path(testing::TempDir()) / ("lock_" + name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

TEST(FolderLock, ASecondHolderIsRefusedAndToldTheFirst) {
  const fs::path folder = new_folder("second");
  const runtime::FolderLock first(folder);

  try {
    const runtime::FolderLock second(folder);
    FAIL() << "no error";
  } catch (const runtime::JournalError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("in use by process " + std::to_string(::getpid())));
  }
}

TEST(FolderLock, IsFreeWhenTheHolderHasGone) {
  const fs::path folder = new_folder("gone");
  { const runtime::FolderLock first(folder); }

  EXPECT_NO_THROW(runtime::FolderLock{folder});
}

TEST(FolderLock, IsFreeWhenTheHolderWasKilled) {
  const fs::path folder = new_folder("killed");
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const runtime::FolderLock lock(folder);
    (void)!::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);

  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);

  EXPECT_NO_THROW(runtime::FolderLock{folder});
}

}  // namespace
}  // namespace troupe::tests
