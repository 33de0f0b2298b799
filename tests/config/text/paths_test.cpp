#include "config/text/paths.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

TEST(Paths, ExpandsTheCache) {
  setenv("TROUPE_CACHE", "/c", 1);
  EXPECT_EQ(expand("${cache}/text/${cache}"), "/c/text//c");
  unsetenv("TROUPE_CACHE");
  setenv("HOME", "/home/u", 1);
  EXPECT_EQ(expand("${cache}/text"), "/home/u/.cache/troupe/text");
  EXPECT_EQ(expand("plain $5 {cache}"), "plain $5 {cache}");
}

TEST(Paths, RefusesOtherVariables) {
  EXPECT_EQ(error_of([] { expand("${home}/a"); }),
            "found ${home} in the path ${home}/a, wanted ${cache}");
  EXPECT_EQ(error_of([] { expand("${cache"); }),
            "found ${cache in the path ${cache, wanted ${cache}");
}

TEST(Paths, FindsAFileAboveTheRunFile) {
  const auto root = std::filesystem::temp_directory_path() / "troupe_paths_test";
  std::filesystem::create_directories(root / "config/runs");
  std::ofstream(root / "config/model.textproto") << "x";

  EXPECT_EQ(find_path("config/model.textproto", root / "config/runs/a.textproto"),
            root / "config/model.textproto");
  EXPECT_EQ(find_path("model.textproto", root / "config/runs/a.textproto"),
            root / "config/model.textproto");
  EXPECT_EQ(find_path("none.textproto", root / "config/runs/a.textproto"), "none.textproto");
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace troupe::config
