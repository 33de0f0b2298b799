#include "runtime/state/huge_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "runtime/state/arena.h"

namespace troupe::tests {
namespace {

using runtime::HugePages;

constexpr size_t page = HugePages::page;

/// Bytes of these for which huge pages were asked: whether there were any to give is not this program's to say.
size_t huge_bytes(const void* data, size_t bytes) {
  const auto first = reinterpret_cast<uintptr_t>(data);
  std::ifstream maps("/proc/self/smaps");
  size_t found = 0, inside = 0;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
      const uintptr_t begin = std::max(from, first), end = std::min(to, first + bytes);
      inside = begin < end ? end - begin : 0;
    } else if (line.starts_with("VmFlags:") && line.find(" hg") != std::string::npos) {
      found += inside;
    }
  }
  return found;
}

/// Empty: this machine's kernel knows of them.
std::string why_none() {
  const char* const file = "/sys/kernel/mm/transparent_hugepage/enabled";
  return std::filesystem::exists(file) ? "" : std::string("found no ") + file;
}

/// Address space of so many huge pages, of which none is there.
class Space {
 public:
  explicit Space(size_t pages) : bytes_((pages + 1) * page) {
    void* const data =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT_NE(data, MAP_FAILED);
    all_ = static_cast<char*>(data);
    first_ = all_ + (page - reinterpret_cast<uintptr_t>(all_) % page) % page;
  }
  ~Space() { ::munmap(all_, bytes_); }
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  char* at(size_t offset) const { return first_ + offset; }

 private:
  const size_t bytes_;
  char* all_;
  char* first_;
};

kernels::Tensor part(char* data, size_t bytes) {
  return kernels::tensor(reinterpret_cast<float*>(data), {static_cast<int64_t>(bytes / 4)});
}

TEST(HugePages, AreAskedForWhereNeighboursFillThemTogether) {
  if (!why_none().empty()) GTEST_SKIP() << why_none();
  const Space space(4);
  HugePages pages;
  pages.add(part(space.at(page / 2), page));                // half of page 0, half of page 1
  pages.add(part(space.at(page + page / 2), page / 2));     // the rest of page 1
  pages.add(part(space.at(2 * page + 4096), page - 4096));  // nearly all of page 2
  pages.add(part(space.at(3 * page), page / 2));

  EXPECT_EQ(pages.request(), 2);

  EXPECT_EQ(huge_bytes(space.at(0), page), 0u);
  EXPECT_EQ(huge_bytes(space.at(page), 2 * page), 2 * page);
  EXPECT_EQ(huge_bytes(space.at(3 * page), page), 0u);
}

// What a process of several does not write is to take no memory.
TEST(HugePages, OfAnArenaAreThoseOfWhatIsUsed) {
  if (!why_none().empty()) GTEST_SKIP() << why_none();
  constexpr int64_t elements = int64_t{4} << 20;  // 16 MiB of weights
  runtime::StateArena arena({{"a", {elements}, kernels::Initial::normal}, {"b", {elements}, kernels::Initial::normal}});
  const size_t weights = elements * sizeof(float);
  const auto is_of_a = [&](int64_t id) { return arena.blocks()[static_cast<size_t>(id)].tensor == arena.index("a"); };

  arena.expect([&](int64_t id) { return runtime::BlockUse{.weights = is_of_a(id)}; });

  EXPECT_GE(huge_bytes(arena.weight(arena.index("a"), 0).data, weights), weights - 2 * page);
  EXPECT_EQ(huge_bytes(arena.weight(arena.index("b"), 0).data, weights), 0u);
}

}  // namespace
}  // namespace troupe::tests
