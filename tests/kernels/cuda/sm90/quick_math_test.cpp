#include "tests/kernels/cuda/rows_in_bf16.h"
#include "tests/kernels/cuda/sm90/every_number.h"

namespace troupe::tests {
namespace {

using QuickMath = Sm90Test;

TEST_F(QuickMath, GivesEveryNumberTheCodeOfItsQuotient) { EXPECT_EQ(wrong_codes_of_quotients(), 0u); }

TEST_F(QuickMath, IsWithinSixUlpsOfEverySigmoid) { EXPECT_LE(error_of_quick_sigmoid(), 6); }

}  // namespace
}  // namespace troupe::tests
