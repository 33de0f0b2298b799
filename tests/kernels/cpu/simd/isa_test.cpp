#include "kernels/cpu/simd/isa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/cpu/gemm/gemm_pairs.h"
#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using cpu::Isa;

TEST(Isa, ThePortablePathIsAlwaysThereAndTheFastestIsTheDefault) {
  const auto found = cpu::available_isas();
  const bool is_slower = found.back() == Isa::avx512_bf16 && !cpu::sums_pairs_faster();

  EXPECT_EQ(found.front(), Isa::portable);
  EXPECT_EQ(cpu::current_isa(), is_slower ? Isa::avx512 : found.back());
}

TEST(Isa, CanBeForcedToWhatTheMachineHas) {
  const IsaGuard guard;
  const auto found = cpu::available_isas();
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (std::find(found.begin(), found.end(), isa) != found.end()) {
      cpu::force_isa(isa);
      EXPECT_EQ(cpu::current_isa(), isa);
    } else {
      EXPECT_THAT(kernel_error([&] { cpu::force_isa(isa); }),
                  testing::HasSubstr(std::string(to_string(isa)) + " is not available here"));
    }
  }
}

}  // namespace
}  // namespace troupe::tests
