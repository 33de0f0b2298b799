// `troupe bench kernels` as a user gets it wrong.
#include "deploy/bench/kernels/bench_kernels.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "tests/program.h"

namespace troupe::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using BenchKernels = ProgramTest;

TEST_F(BenchKernels, WantsADeviceThatIsAGpu) {
  EXPECT_EQ(troupe("bench kernels"), 2);
  EXPECT_THAT(output_, HasSubstr("--device is required"));
  EXPECT_EQ(troupe("bench kernels --device cpu"), 1);
  EXPECT_THAT(output_, HasSubstr("bench kernels: found --device cpu, wanted cuda"));
}

TEST_F(BenchKernels, WithoutAGpuSaysWhyAndWritesNothing) {
  setenv("CUDA_VISIBLE_DEVICES", "", 1);
  EXPECT_EQ(troupe("bench kernels --device cuda --json table.json"), 1);
  unsetenv("CUDA_VISIBLE_DEVICES");

  EXPECT_THAT(output_, HasSubstr("troupe: no GPU to compute on: "));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "table.json"));
}

TEST_F(BenchKernels, NamesAFamilyOrALibraryOfPeersThatIsNotThere) {
  EXPECT_EQ(troupe("bench kernels --device cuda --only nosuch"), 1);
  EXPECT_THAT(output_, HasSubstr("--only: no family has 'nosuch' in its name"));
  EXPECT_EQ(troupe("bench kernels --device cuda --peers nosuch.so"), 1);
  EXPECT_THAT(output_, AllOf(HasSubstr("--peers: "), HasSubstr("nosuch.so")));
  EXPECT_EQ(troupe("bench kernels --device cuda --rounds 0"), 2);
}

}  // namespace
}  // namespace troupe::tests
