#include "runtime/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "runtime/checkpoint/error.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using namespace runtime;
using testing::HasSubstr;

wire::CheckpointManifest sample() {
  wire::CheckpointManifest manifest;
  manifest.set_format(1);
  manifest.set_arithmetic("cpu.1");
  manifest.mutable_record()->set_step(5);
  manifest.set_parameters(300);
  for (const uint64_t first : {0, 256}) {
    wire::CheckpointFile& file = *manifest.add_files();
    file.set_name("blocks-" + std::to_string(first));
    file.set_first_block(first);
    file.set_blocks(first == 0 ? 256 : 44);
  }
  return manifest;
}

std::string error_of(const std::string& bytes) {
  try {
    parse_manifest(bytes, "step-5/manifest");
    return "none";
  } catch (const CheckpointError& error) {
    return error.what();
  }
}

TEST(Manifest, GivesBackWhatWasWritten) {
  const auto manifest = sample();

  EXPECT_EQ(parse_manifest(frame_manifest(manifest), "m").SerializeAsString(),
            manifest.SerializeAsString());
}

TEST(Manifest, EveryCutAndEveryFlippedBitIsFound) {
  const std::string bytes = frame_manifest(sample());

  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_EQ(error_of(bytes.substr(0, i)), "step-5/manifest is damaged");
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    EXPECT_EQ(error_of(flipped), "step-5/manifest is damaged");
  }
}

TEST(Manifest, MomentsOfNoKnownTypeAreRefused) {
  auto manifest = sample();
  EXPECT_EQ(format_of(manifest), StateFormat{}) << "as it was before there was another";
  manifest.set_moments("bf16");
  EXPECT_EQ(error_of(frame_manifest(manifest)), "none");
  manifest.set_moments("f8");

  EXPECT_EQ(error_of(frame_manifest(manifest)),
            "step-5/manifest has moments of type \"f8\", wanted f32 or bf16");
}

TEST(Manifest, AnotherFormatIsRefused) {
  auto manifest = sample();
  manifest.set_format(2);

  EXPECT_EQ(error_of(frame_manifest(manifest)), "step-5/manifest is of format 2, wanted 1");
}

TEST(Manifest, FilesOutsideTheFolderAreRefused) {
  for (const char* name : {"../blocks-0", "/etc/passwd", "..", ""}) {
    auto manifest = sample();
    manifest.mutable_files(1)->set_name(name);

    EXPECT_THAT(error_of(frame_manifest(manifest)), HasSubstr("wanted a name without a folder"));
  }
}

TEST(Manifest, AGapBetweenFilesIsRefused) {
  auto manifest = sample();
  manifest.mutable_files(1)->set_first_block(257);

  EXPECT_THAT(error_of(frame_manifest(manifest)),
              HasSubstr("blocks-256 holds 44 blocks from 257, wanted some from 256"));

  manifest.mutable_files(1)->set_first_block(256);
  manifest.mutable_files(1)->set_blocks(UINT64_MAX);
  EXPECT_THAT(error_of(frame_manifest(manifest)), HasSubstr("wanted some from 256"));
}

TEST(Manifest, ACheckpointUnderAnotherStepsNameIsRefused) {
  const fs::path folder = fs::path(testing::TempDir()) / "manifest_step/step-6";
  fs::create_directories(folder);
  std::ofstream(folder / "manifest", std::ios::binary) << frame_manifest(sample());

  try {
    read_manifest(folder);
    ADD_FAILURE() << "no error";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("step-6/manifest is that of step-5"));
  }
}

}  // namespace
}  // namespace troupe::tests
