#include "runtime/state/unit_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/checkpoint/error.h"
#include "tests/runtime/state/units.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using namespace runtime;
using testing::ElementsAre;
using testing::HasSubstr;
using wire::UnitHash;

wire::StepUnits some_step() {
  return step_of(7, {weights(0, 1), message(UnitHash::FORWARD_MESSAGE, 3, 5, UnitHash::FROM_ROUTER),
                     message(UnitHash::BACKWARD_MESSAGE, 0, 2, UnitHash::TO_EXPERT, 9),
                     gradient(1, 2, 1), gradient_sum(1, 0)});
}

std::string error_of(const std::string& bytes) {
  try {
    parse_units(bytes, "units/step-7");
    return "none";
  } catch (const UnitError& error) {
    return error.what();
  }
}

TEST(UnitFile, ReadsWhatItWrites) {
  const wire::StepUnits step = some_step();

  const wire::StepUnits read = parse_units(frame_units(step), "units/step-7");

  EXPECT_EQ(read.SerializeAsString(), step.SerializeAsString());
}

TEST(UnitFile, AnyCutAndAnyAlteredByteIsRefused) {
  const std::string bytes = frame_units(some_step());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string altered = bytes;
    altered[i] = static_cast<char>(altered[i] ^ 0x10);
    EXPECT_EQ(error_of(altered), "units/step-7 is damaged") << i;
    EXPECT_EQ(error_of(bytes.substr(0, i)), "units/step-7 is damaged") << i;
  }
}

TEST(UnitFile, WhatNoStepWritesIsRefusedByName) {
  wire::StepUnits format = some_step(), order = some_step(), twice = some_step(),
                  tensor = some_step(), kind = some_step();
  format.set_format(2);
  order.mutable_units()->SwapElements(1, 2);
  *twice.add_units() = twice.units(4);
  tensor.mutable_units(3)->set_tensor(2);
  kind.mutable_units(4)->set_kind(static_cast<UnitHash::Kind>(9));

  EXPECT_EQ(error_of(frame_units(format)), "units/step-7 is of format 2, wanted 1");
  EXPECT_THAT(error_of(frame_units(order)), HasSubstr("unit 2 is out of order"));
  EXPECT_THAT(error_of(frame_units(twice)), HasSubstr("unit 5 is out of order"));
  EXPECT_THAT(error_of(frame_units(tensor)), HasSubstr("unit 3 is of tensor 2, wanted one of 2"));
  EXPECT_THAT(error_of(frame_units(kind)), HasSubstr("unit 4 has kind 9"));
}

// The order in which one unit's damage reaches the others.
TEST(UnitFile, UnitsAreOrderedAsTheyAreComputed) {
  const auto f = [](uint32_t mb, int layer, UnitHash::Edge edge, uint32_t part = 0) {
    return message(UnitHash::FORWARD_MESSAGE, mb, layer, edge, part);
  };
  const auto b = [](uint32_t mb, int layer, UnitHash::Edge edge, uint32_t part = 0) {
    return message(UnitHash::BACKWARD_MESSAGE, mb, layer, edge, part);
  };
  const std::vector<UnitHash> ordered{
      weights(0, 0), weights(0, 1), weights(1, 0),
      f(0, 0, UnitHash::TO_ATTENTION), f(0, 0, UnitHash::FROM_ATTENTION),
      f(0, 1, UnitHash::TO_ATTENTION), f(0, 1, UnitHash::TO_ROUTER),
      f(0, 1, UnitHash::TO_EXPERT, 2), f(0, 1, UnitHash::TO_EXPERT, 3),
      f(0, 1, UnitHash::FROM_EXPERT, 2), f(0, 1, UnitHash::FROM_ROUTER),
      f(1, 0, UnitHash::TO_ATTENTION),
      b(0, 1, UnitHash::TO_ROUTER), b(0, 1, UnitHash::FROM_ROUTER),
      b(0, 1, UnitHash::TO_ATTENTION), b(0, 1, UnitHash::FROM_ATTENTION),
      b(0, 0, UnitHash::TO_ATTENTION), b(1, 1, UnitHash::TO_ROUTER),
      gradient(0, 0, 0), gradient(0, 0, 1), gradient(1, 0, 0), gradient_sum(0, 0)};

  for (size_t i = 0; i < ordered.size(); ++i) {
    for (size_t j = 0; j < ordered.size(); ++j) {
      EXPECT_EQ(is_before(ordered[i], ordered[j]), i < j) << i << " and " << j;
    }
  }
}

TEST(UnitFile, EveryKindOfUnitIsDescribed) {
  const wire::StepUnits step = some_step();
  std::vector<std::string> texts;
  for (const auto& unit : step.units()) texts.push_back(describe(unit, step));

  EXPECT_THAT(texts,
              ElementsAre("weights first.weight, block 1",
                          "message forward, micro-batch 3, layer 5, from router",
                          "message backward, micro-batch 0, layer 2, to expert 9",
                          "gradient second.weight, micro-batch 2, MTP module 0",
                          "gradient sum second.weight, block 0"));
}

TEST(UnitFile, TheFirstDifferenceIsNamedWithBothHashes) {
  const wire::StepUnits recorded = some_step();
  wire::StepUnits now = recorded;
  EXPECT_EQ(first_difference(recorded, now), "");

  now.mutable_units(4)->set_hash(0x5678);
  now.mutable_units(1)->set_hash(0x1234);
  EXPECT_EQ(first_difference(recorded, now),
            "message forward, micro-batch 3, layer 5, from router: recorded 0000000000000065, now "
            "0000000000001234");
}

TEST(UnitFile, AUnitThatOneSideAloneHasIsADifference) {
  const wire::StepUnits all = some_step();
  for (int missing = 0; missing < all.units_size(); ++missing) {
    wire::StepUnits fewer = all;
    fewer.mutable_units()->DeleteSubrange(missing, 1);
    const std::string name = describe(all.units(missing), all);

    EXPECT_EQ(first_difference(all, fewer),
              name + ": recorded 000000000000006" + std::to_string(4 + missing) +
                  ", now there is none");
    EXPECT_EQ(first_difference(fewer, all),
              name + ": none was recorded, now 000000000000006" + std::to_string(4 + missing));
  }
}

TEST(UnitFile, TheFirstRecordOfAStepStaysAndOldOnesGo) {
  const fs::path folder = fs::path(testing::TempDir()) / "unit_file_test";
  fs::remove_all(folder);
  wire::StepUnits first = some_step(), second = some_step();
  second.mutable_units(0)->set_hash(1);
  write_units(folder, first);
  write_units(folder, second);
  EXPECT_EQ(read_units(folder, 7).SerializeAsString(), first.SerializeAsString());
  for (const uint64_t step : {6, 8, 10}) {
    first.set_step(step);
    write_units(folder, first);
  }

  drop_units(folder, 7);

  EXPECT_FALSE(fs::exists(unit_file(folder, 6)) || fs::exists(unit_file(folder, 7)));
  EXPECT_TRUE(fs::exists(unit_file(folder, 8)) && fs::exists(unit_file(folder, 10)));
  EXPECT_THROW(read_units(folder, 7), CheckpointError);
  fs::rename(unit_file(folder, 8), unit_file(folder, 7));
  EXPECT_THROW(read_units(folder, 7), UnitError) << "it is that of step 8";
  fs::remove_all(folder);
}

}  // namespace
}  // namespace troupe::tests
