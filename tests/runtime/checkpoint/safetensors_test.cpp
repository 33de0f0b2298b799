#include "runtime/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/runtime/checkpoint/fixtures.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using SafetensorsTest = FolderTest;

std::span<const uint8_t> bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

std::vector<float> read(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry* tensor = file.find(name);
  std::vector<float> values(static_cast<size_t>(tensor->count()));
  file.read_f32(*tensor, values);
  return values;
}

TEST_F(SafetensorsTest, WhatIsWrittenIsRead) {
  const std::vector<float> a{1, -2, 3.5f, 4};
  const std::vector<uint8_t> b{0x80, 0x3f, 0x40, 0xc0};
  SafetensorsWriter writer(folder_ / "w.safetensors", {{"a", FileDType::f32, {2, 2}, 0, 0},
                                                       {"b", FileDType::bf16, {2}, 0, 0}});

  writer.write("b", b);
  writer.write("a", bytes(a));
  writer.finish();
  const SafetensorsFile file(folder_ / "w.safetensors");

  EXPECT_EQ(read(file, "a"), a);
  EXPECT_THAT(read(file, "b"), ElementsAre(1.0f, -3.0f));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST_F(SafetensorsTest, ReadsTensorsThatAreNotAligned) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},)"
                             R"("c":{"dtype":"F64","shape":[1],"data_offsets":[5,13]},)"
                             R"("d":{"dtype":"F16","shape":[1],"data_offsets":[13,15]}})";
  std::string text = safetensors_text(header, 0);
  text += std::string("\x00\x00\x00\x80\x3f", 5);              // b = 1
  text += std::string("\x00\x00\x00\x00\x00\x00\x04\xc0", 8);  // c = -2.5
  text += std::string("\x00\x42", 2);                          // d = 3
  write_text(folder_ / "x", text);
  const SafetensorsFile file(folder_ / "x");

  EXPECT_THAT(read(file, "b"), ElementsAre(1.0f));
  EXPECT_THAT(read(file, "c"), ElementsAre(-2.5f));
  EXPECT_THAT(read(file, "d"), ElementsAre(3.0f));
  EXPECT_THAT(error_of([&] { read(file, "a"); }), HasSubstr("tensor a: found U8, wanted F32"));
}

TEST_F(SafetensorsTest, AnUnfinishedFileLeavesNothing) {
  {
    SafetensorsWriter writer(folder_ / "w", {{"a", FileDType::f32, {1}, 0, 0}});
    EXPECT_EQ(error_of([&] { writer.finish(); }),
              (folder_ / "w").string() + ": tensor a: found nothing written, wanted its bytes");
  }

  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(SafetensorsTest, TheOldFileStaysUntilTheNewOneIsWhole) {
  write_text(folder_ / "w", "old");
  {
    SafetensorsWriter writer(folder_ / "w", {{"a", FileDType::f32, {1}, 0, 0}});
    writer.write("a", bytes({1}));
  }
  EXPECT_EQ(read_text(folder_ / "w"), "old");

  SafetensorsWriter writer(folder_ / "w", {{"a", FileDType::f32, {1}, 0, 0}});
  writer.write("a", bytes({1}));
  writer.finish();

  EXPECT_THAT(read(SafetensorsFile(folder_ / "w"), "a"), ElementsAre(1.0f));
}

TEST_F(SafetensorsTest, RefusesWrongWrites) {
  SafetensorsWriter writer(folder_ / "w", {{"a", FileDType::f32, {2}, 0, 0}});

  EXPECT_THAT(error_of([&] { writer.write("b", bytes({1})); }), HasSubstr("found tensor b"));
  EXPECT_THAT(error_of([&] { writer.write("a", bytes({1})); }),
              HasSubstr("tensor a: found 4 bytes, wanted 8"));
  writer.write("a", bytes({1, 2}));
  EXPECT_THAT(error_of([&] { writer.write("a", bytes({1, 2})); }), HasSubstr("written twice"));
  EXPECT_THAT(error_of([&] {
                SafetensorsWriter twice(folder_ / "v", {{"a", FileDType::f32, {2}, 0, 0},
                                                        {"a", FileDType::f32, {2}, 0, 0}});
              }),
              HasSubstr("found tensor a twice"));
  EXPECT_THAT(error_of([&] { SafetensorsWriter none(folder_ / "no/w", {}); }),
              HasSubstr("cannot be made: No such file"));
}

TEST_F(SafetensorsTest, RefusesWhatIsNoFile) {
  EXPECT_THAT(error_of([&] { SafetensorsFile file(folder_ / "none"); }), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { SafetensorsFile file{folder_}; }), HasSubstr("is no file"));
  write_text(folder_ / "empty", "");
  EXPECT_THAT(error_of([&] { SafetensorsFile file(folder_ / "empty"); }),
              HasSubstr("found 0 bytes"));
}

TEST_F(SafetensorsTest, ReadsTheGoldenFiles) {
  const SafetensorsFile file(golden("plain/model.safetensors"));

  EXPECT_EQ(file.find("model.norm.weight")->shape, std::vector<int64_t>{64});
  EXPECT_EQ(file.path(), golden("plain/model.safetensors"));
}

}  // namespace
}  // namespace troupe::runtime
