#include "runtime/telemetry/printable.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using runtime::printable;

TEST(Printable, LeavesWhatATerminalMayGet) {
  EXPECT_EQ(printable("stage/0  \xc3\xa9\xe2\x82\xac"), "stage/0  \xc3\xa9\xe2\x82\xac");
  EXPECT_EQ(printable(""), "");
}

TEST(Printable, ReplacesControlCharactersOfBothRanges) {
  EXPECT_EQ(printable(std::string_view("a\0b\n\x1b[2J\x7f", 8)), "a?b??[2J");
  EXPECT_EQ(printable("\x7f"), "?");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "?31m");
}

TEST(Printable, ReplacesWhatIsNoUtf8) {
  EXPECT_EQ(printable("a\xff"
                      "b"),
            "a\xef\xbf\xbd"
            "b");
}

}  // namespace
}  // namespace troupe::tests
