#include "runtime/telemetry/cell_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "kernels/random.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::HasSubstr;

std::vector<uint8_t> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The bytes of a file with three actors, and the moment after them.
struct Sample {
  std::vector<uint8_t> bytes;
  CellMoment now;
};
const Sample& sample() {
  static const Sample made = [] {
    const auto glass = Glass::create(testing::TempDir());
    for (const char* name : {"coordinator", "stage/0", "stage/1"}) {
      Cell& cell = *glass->hire(
          {.role = "stage", .name = name, .parent = "company", .incarnation = 1, .restarts = 0});
      cell.arrived();
      cell.arrived();
      cell.begin(glass->kind("forward"), {.step = 3, .micro_batch = 1, .layer = 2});
      cell.waiting_for(glass->kind("answers"), 4);
      cell.failed("text of an error");
    }
    return Sample{bytes_of(glass->path()), CellMoment::now()};
  }();
  return made;
}

GlassView parse(const std::vector<uint8_t>& bytes) {
  return parse_cells(bytes, "cells", sample().now);
}

template <class T>
void put(std::vector<uint8_t>& bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

std::string error_of(const std::vector<uint8_t>& bytes) {
  try {
    parse(bytes);
  } catch (const CellError& error) {
    return error.what();
  }
  return "";
}

TEST(CellReader, GivesBackWhatWasWritten) {
  const GlassView view = parse(sample().bytes);

  ASSERT_EQ(view.cells.size(), 3u);
  EXPECT_EQ(view.pid, ::getpid());
  EXPECT_EQ(view.run_folder, std::filesystem::weakly_canonical(testing::TempDir()).string());
  EXPECT_EQ(view.cells[1].name, "stage/0");
  EXPECT_EQ(view.cells[1].message, "forward");
  EXPECT_EQ(view.cells[1].mailbox, 1u);
  EXPECT_EQ(view.cells[1].waits_for, "answers");
  EXPECT_EQ(view.cells[1].last_error, "text of an error");
}

TEST(CellReader, SaysWhatIsWrongWithAHeader) {
  EXPECT_THAT(error_of({}), HasSubstr("cells is no cell file: it is shorter than"));
  auto bytes = sample().bytes;
  bytes[0] = 'X';
  EXPECT_THAT(error_of(bytes), HasSubstr("does not begin with TRPCELL1"));
  bytes = sample().bytes;
  put<uint32_t>(bytes, offsetof(FileHeader, version), 7);
  EXPECT_THAT(error_of(bytes), HasSubstr("found version 7, wanted 1"));
  bytes = sample().bytes;
  put<uint32_t>(bytes, offsetof(FileHeader, cells_used), 0xffffffffu);
  EXPECT_THAT(error_of(bytes), HasSubstr("found cells in use 4294967295, wanted 0 to 4096"));
  bytes = sample().bytes;
  put<uint32_t>(bytes, offsetof(FileHeader, names_used), 513);
  EXPECT_THAT(error_of(bytes), HasSubstr("found names in use 513"));
  bytes = sample().bytes;
  bytes.resize(sizeof(FileHeader) + 2 * sizeof(CellSlot) + 1);
  EXPECT_THAT(error_of(bytes), HasSubstr("found 2 cells, wanted 3"));
}

TEST(CellReader, TextsWithoutAnEndAndUnknownNumbersAreShownAsFarAsTheyGo) {
  auto bytes = sample().bytes;
  const size_t cell = sizeof(FileHeader);
  std::memset(bytes.data() + cell + offsetof(CellSlot, name), 'n', cell_name_bytes);
  std::memset(bytes.data() + cell + offsetof(CellSlot, error), '\x1b', error_bytes);
  put<uint64_t>(bytes, cell + offsetof(CellSlot, kind), 999);
  put<uint32_t>(bytes, cell + offsetof(CellSlot, state), 77);
  put<uint64_t>(bytes, cell + offsetof(CellSlot, parked), ~uint64_t{4});
  put<uint64_t>(bytes, cell + offsetof(CellSlot, busy), ~uint64_t{0});
  std::memset(bytes.data() + offsetof(FileHeader, run_folder), 'r', run_folder_bytes);

  const GlassView view = parse(bytes);

  EXPECT_EQ(view.cells[0].name, std::string(cell_name_bytes, 'n'));
  EXPECT_EQ(view.cells[0].last_error, std::string(error_bytes, '?'));
  EXPECT_EQ(view.cells[0].message, "#999");
  EXPECT_EQ(view.cells[0].state, CellState::dead);
  EXPECT_EQ(view.cells[0].parked, 0);
  EXPECT_EQ(view.run_folder.size(), run_folder_bytes);
}

TEST(CellReader, AgesAreOfTheClockThatTheFileNames) {
  auto bytes = sample().bytes;
  const size_t began = sizeof(FileHeader) + offsetof(CellSlot, began);
  put<uint32_t>(bytes, offsetof(FileHeader, is_tsc), 0);
  put<uint64_t>(bytes, began, sample().now.ns - 5000);
  EXPECT_EQ(parse(bytes).cells[0].message_ns, 5000u);

  // 3 ticks a nanosecond since the header's moment.
  put<uint32_t>(bytes, offsetof(FileHeader, is_tsc), 1);
  put<uint64_t>(bytes, offsetof(FileHeader, base_ns), sample().now.ns - 1'000'000);
  put<uint64_t>(bytes, offsetof(FileHeader, base_ticks), sample().now.ticks - 3'000'000);
  put<uint64_t>(bytes, began, sample().now.ticks - 15'000);
  EXPECT_NEAR(static_cast<double>(parse(bytes).cells[0].message_ns), 5000, 1);
}

TEST(CellReader, ALifeThatIsJustBeginningIsNotShown) {
  auto bytes = sample().bytes;
  put<uint64_t>(bytes, sizeof(FileHeader) + offsetof(CellSlot, life), 5);

  EXPECT_EQ(parse(bytes).cells.size(), 2u);
}

TEST(CellReader, AlteredAndCutBytesAreReadOrRefused) {
  uint64_t draws = 0;
  const auto random = [&] {
    return kernels::random_bits({11, kernels::Purpose::test, 0, draws++});
  };
  const size_t used = sizeof(FileHeader) + 3 * sizeof(CellSlot);
  int refused = 0, read = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> bytes(sample().bytes.begin(),
                               sample().bytes.begin() + static_cast<std::ptrdiff_t>(used));
    for (int i = 0; i < 20; ++i) {
      // Where something stands: the numbers of the header, the first names, the cells.
      const size_t places[] = {random() % 96, 8192 + random() % 256,
                               sizeof(FileHeader) + random() % (3 * sizeof(CellSlot))};
      bytes[places[i % 3 == 0 && round % 2 == 0 ? 0 : 1 + random() % 2]] =
          static_cast<uint8_t>(random());
    }
    if (round % 5 == 0) bytes.resize(random() % used);
    (error_of(bytes).empty() ? read : refused)++;
  }

  EXPECT_GT(read, 500);
  EXPECT_GT(refused, 500);
}

TEST(CellReader, AFileThatIsNoneOrNotThereIsAnErrorWithItsName) {
  EXPECT_THROW(read_cells("/nowhere/cells"), CellError);
  EXPECT_THROW(read_cells("/dev/null"), CellError);
  EXPECT_THROW(read_cells(testing::TempDir()), CellError);
}

/// A process whose actor began a message; it says so and sleeps.
class OtherProcess {
 public:
  OtherProcess() {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    child_ = ::fork();
    if (child_ == 0) {
      const auto glass = Glass::create("/nowhere/" + std::to_string(::getpid()));
      Cell& cell = *glass->hire(
          {.role = "stage", .name = "stage/0", .parent = "", .incarnation = 1, .restarts = 0});
      cell.begin(glass->kind("forward"), {.step = 12});
      (void)!::write(ready[1], glass->path().data(), glass->path().size());
      ::close(ready[1]);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char path[4096] = {};
    EXPECT_GT(::read(ready[0], path, sizeof path - 1), 0);
    ::close(ready[0]);
    path_ = path;
  }
  ~OtherProcess() {
    end();
    std::filesystem::remove(path_);
  }
  void stop() {
    ::kill(child_, SIGSTOP);
    ::waitpid(child_, nullptr, WUNTRACED);
  }
  void end() {
    if (child_ < 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }
  const std::string& path() const { return path_; }

 private:
  pid_t child_ = -1;
  std::string path_;
};

// Glass law: nobody has to answer.
TEST(CellReader, AProcessIsReadWhileItRunsWhenItIsStoppedAndWhenItHasBeenKilled) {
  OtherProcess other;
  EXPECT_EQ(read_cells(other.path()).process, ProcessState::running);

  other.stop();
  const GlassView stopped = read_cells(other.path());
  other.end();
  const GlassView ended = read_cells(other.path());

  EXPECT_EQ(stopped.process, ProcessState::stopped);
  EXPECT_EQ(stopped.cells.at(0).message, "forward");
  EXPECT_EQ(stopped.cells.at(0).unit.step, 12u);
  EXPECT_GT(stopped.cells.at(0).message_ns, 0u);
  EXPECT_EQ(ended.process, ProcessState::ended);
  EXPECT_EQ(ended.cells.at(0).message, "forward");
  EXPECT_EQ(ended.cells.at(0).message_ns, 0u) << "its age ends with the last that is known";
}

}  // namespace
}  // namespace troupe::tests
