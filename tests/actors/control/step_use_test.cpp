#include "actors/control/step_use.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using actors::StepUse;

wire::Applied applied(int process, uint64_t bytes, uint64_t parcels, double busy) {
  wire::Applied out;
  wire::WireUse& wire = *out.add_wire();
  wire.set_wire_bytes(bytes);
  wire.set_parcels(parcels);
  wire::ProcessWork& work = *out.add_work();
  work.set_process(process);
  work.set_busy_seconds(busy);
  work.set_unit_seconds(busy / 2);
  return out;
}

wire::StepDone announce(StepUse& use, const std::vector<wire::Applied>& parts) {
  use.begin();
  for (const wire::Applied& part : parts) use.hear(part);
  wire::StepDone done;
  use.add_to(done, true);
  return done;
}

TEST(StepUseTest, IsWhatHasComeSinceTheStepBeforeOfAllProcesses) {
  StepUse use;
  use.set_minimum(70);
  EXPECT_FALSE(announce(use, {applied(0, 100, 3, 1.0), applied(1, 50, 2, 2.0)}).has_wire());

  const wire::StepDone done = announce(use, {applied(0, 180, 5, 1.5), applied(1, 60, 2, 3.0)});
  EXPECT_EQ(done.wire().wire_bytes(), 90u);
  EXPECT_EQ(done.wire().parcels(), 2u);
  EXPECT_EQ(done.wire().minimum_bytes(), 70u);
  ASSERT_EQ(done.work_size(), 2);
  EXPECT_DOUBLE_EQ(done.work(0).busy_seconds(), 0.5);
  EXPECT_DOUBLE_EQ(done.work(1).busy_seconds(), 1.0);
}

// What GPUs sum together is bytes without a parcel.
TEST(StepUseTest, IsToldOfStepsWithoutAnyParcel) {
  StepUse use;
  announce(use, {applied(0, 100, 0, 1.0)});
  EXPECT_EQ(announce(use, {applied(0, 250, 0, 2.0)}).wire().wire_bytes(), 150u);
}

TEST(StepUseTest, IsNotToldOfAProcessThatCountsAnew) {
  StepUse use;
  announce(use, {applied(0, 100, 3, 1.0)});
  const wire::StepDone done = announce(use, {applied(0, 20, 1, 0.1)});
  EXPECT_FALSE(done.has_wire());
  EXPECT_EQ(done.work_size(), 0);
}

}  // namespace
}  // namespace troupe::tests
