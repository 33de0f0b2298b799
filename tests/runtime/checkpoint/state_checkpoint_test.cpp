#include "runtime/checkpoint/state_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/state/hash.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using namespace runtime;
using testing::HasSubstr;

fs::path new_folder(const std::string& name) {
  const fs::path folder = fs::path(testing::TempDir()) / ("checkpoint_" + name);
  fs::remove_all(folder);
  return folder;
}

std::vector<kernels::ParameterSpec> specs() {
  return {{"b.weight", {300, 300}, kernels::Initial::normal},
          {"a.weight", {17}, kernels::Initial::ones}};
}

wire::StepRecord record_of(uint64_t step) {
  wire::StepRecord record;
  record.set_step(step);
  record.set_consumed_tokens(64 * step);
  record.add_bias(0.5f);
  return record;
}

std::vector<std::vector<uint8_t>> bytes_of(const StateSnapshot& snapshot) {
  std::vector<std::vector<uint8_t>> blocks;
  for (uint64_t id = 0; id < snapshot.blocks.size(); ++id) {
    const auto bytes = snapshot.bytes(id);
    blocks.emplace_back(bytes.begin(), bytes.end());
  }
  return blocks;
}

/// Saves state 0 of a filled arena as state `step`.
class Saved : public testing::Test {
 protected:
  Saved() : pool_(2), queue_(pool_), arena_(specs()) { initialise(arena_, 3, 0.02f); }

  StateSnapshot save(const fs::path& folder, uint64_t step) {
    const StateSnapshot snapshot = take_snapshot(arena_, queue_, record_of(step), "cpu.1");
    write_checkpoint(folder, snapshot);
    return snapshot;
  }

  kernels::ThreadPool pool_;
  kernels::Queue queue_;
  StateArena arena_;
};

TEST_F(Saved, StateComesBackWithItsHash) {
  const fs::path folder = new_folder("back");
  const StateSnapshot snapshot = save(folder, 4);
  StateArena other(specs());

  const auto manifest = load_checkpoint(folder / "step-4", other);

  EXPECT_EQ(manifest.record().consumed_tokens(), 256u);
  const StateSnapshot again = take_snapshot(other, queue_, manifest.record(), "cpu.1");
  EXPECT_EQ(again.state_hash, snapshot.state_hash);
  EXPECT_EQ(bytes_of(again), bytes_of(snapshot));
  EXPECT_EQ(snapshot.block_hashes[0], block_hash(other, 0, 4));
}

TEST_F(Saved, Bf16MomentsAndTheEmaComeBackAndTakeTheirBytes) {
  const fs::path folder = new_folder("format");
  const StateFormat format{.moments = kernels::DType::bf16, .has_ema = true};
  StateArena arena(specs(), format), other(specs(), format);
  initialise(arena, 3, 0.02f);
  kernels::values<uint16_t>(arena.block(1, 0).moment2)[7] = 0x4049;
  kernels::values<float>(arena.block(1, 0).ema)[8] = 3.5f;
  const StateSnapshot snapshot = take_snapshot(arena, queue_, record_of(4), "cpu.1");
  write_checkpoint(folder, snapshot);

  const auto manifest = load_checkpoint(folder / "step-4", other);

  EXPECT_EQ(manifest.parameters(), 90'017u);
  EXPECT_EQ(manifest.moments(), "bf16");
  EXPECT_TRUE(manifest.has_ema());
  EXPECT_EQ(format_of(manifest), format);
  EXPECT_EQ(manifest.files(0).bytes(), 12u * 90'017);
  EXPECT_NO_THROW(verify_checkpoint(folder / "step-4"));
  const StateSnapshot again = take_snapshot(other, queue_, manifest.record(), "cpu.1");
  EXPECT_EQ(again.state_hash, snapshot.state_hash);
  EXPECT_EQ(bytes_of(again), bytes_of(snapshot));
  EXPECT_EQ(snapshot.block_hashes[1], block_hash(other, 1, 4));
}

TEST_F(Saved, AStateOfAnotherFormatIsRefusedByName) {
  const fs::path folder = new_folder("other_format");
  save(folder, 4);
  StateArena bf16(specs(), {.moments = kernels::DType::bf16});
  StateArena ema(specs(), {.has_ema = true});

  for (auto& [arena, wanted] : {std::pair<StateArena&, const char*>{bf16, "wanted bf16 moments"},
                                {ema, "wanted f32 moments and an EMA"}}) {
    try {
      load_checkpoint(folder / "step-4", arena);
      ADD_FAILURE() << wanted;
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), HasSubstr(std::string("step-4 holds f32 moments, ") + wanted));
    }
  }
}

TEST_F(Saved, EveryDamagedByteIsFoundAndTheFileNamed) {
  const fs::path folder = new_folder("damage");
  save(folder, 2);
  for (const char* name : {"manifest", "blocks-0"}) {
    const fs::path file = folder / "step-2" / name;
    const auto size = fs::file_size(file);
    for (const uint64_t at : {uint64_t{0}, size / 2, size - 1}) {
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      stream.seekg(static_cast<std::streamoff>(at));
      const char byte = static_cast<char>(stream.get());
      stream.seekp(static_cast<std::streamoff>(at));
      stream.put(static_cast<char>(byte ^ 0x10)).flush();
      try {
        verify_checkpoint(folder / "step-2");
        ADD_FAILURE() << name << " at " << at;
      } catch (const CheckpointError& error) {
        EXPECT_THAT(error.what(), HasSubstr(name));
      }
      stream.seekp(static_cast<std::streamoff>(at));
      stream.put(byte);
    }
  }
  EXPECT_NO_THROW(verify_checkpoint(folder / "step-2"));
}

// Else the state that is used instead would have moments, or stamps, of this one.
TEST_F(Saved, OfADamagedOneNothingStaysInTheArena) {
  const fs::path folder = new_folder("half");
  save(folder, 2);
  StateArena arena({{"a.weight", {300 * 300 + 17}, kernels::Initial::normal}});  // as many, in other blocks

  EXPECT_THROW(load_checkpoint(folder / "step-2", arena), CheckpointError);

  EXPECT_EQ(arena.stamp(0, 2), 0u);
  for (int64_t id = 0; id < static_cast<int64_t>(arena.blocks().size()); ++id) {
    for (const kernels::Tensor& part : arena.block(id, 2).parts()) {
      const float* const values = kernels::values<float>(part);
      for (int64_t i = 0; i < part.count(); ++i) ASSERT_EQ(values[i], 0.0f) << id;
    }
  }
}

TEST_F(Saved, ACutFileIsFound) {
  const fs::path folder = new_folder("cut");
  save(folder, 2);
  fs::resize_file(folder / "step-2" / "blocks-0", 1000);

  EXPECT_THROW(verify_checkpoint(folder / "step-2"), CheckpointError);
}

// More than a file's worth of blocks, so that there are two.
TEST_F(Saved, EveryDamagedFileIsListed) {
  const fs::path folder = new_folder("list");
  std::vector<kernels::ParameterSpec> many;
  for (int i = 0; i < 300; ++i) {
    many.push_back({"w" + std::to_string(i), {4}, kernels::Initial::ones});
  }
  StateArena arena(many);
  write_checkpoint(folder, take_snapshot(arena, queue_, record_of(2), "cpu.1"));
  const auto manifest = read_manifest(folder / "step-2");
  ASSERT_EQ(manifest.files_size(), 2);
  EXPECT_THAT(find_damage(folder / "step-2", manifest), testing::IsEmpty());

  fs::resize_file(folder / "step-2/blocks-0", 100);
  fs::remove(folder / "step-2/blocks-256");

  EXPECT_THAT(find_damage(folder / "step-2", manifest),
              testing::ElementsAre(HasSubstr("blocks-0 has 100 bytes, wanted 12288"),
                                   HasSubstr("blocks-256: cannot be opened")));
}

TEST_F(Saved, AnotherModelIsRefused) {
  const fs::path folder = new_folder("model");
  save(folder, 2);
  StateArena other({{"a.weight", {17}, kernels::Initial::ones}});

  EXPECT_THROW(load_checkpoint(folder / "step-2", other), CheckpointError);
}

TEST_F(Saved, RetentionKeepsTheNewest) {
  const fs::path folder = new_folder("keep");
  for (const uint64_t step : {2, 4, 10}) save(folder, step);

  retain_checkpoints(folder, 2);

  const auto places = list_checkpoints(folder);
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].step, 4u);
  EXPECT_EQ(places[1].step, 10u);
}

// Processes that were killed while they saved or removed one would fill the disk in time.
TEST_F(Saved, RetentionRemovesWhatDeadProcessesLeft) {
  const fs::path folder = new_folder("leftovers");
  save(folder, 2);
  for (const char* name : {"step-4.partial-1", "step-1.removed-77", "step-x.partial-1", "notes"}) {
    fs::create_directories(folder / name);
  }

  retain_checkpoints(folder, 0);

  EXPECT_TRUE(fs::exists(folder / "step-2/manifest"));
  EXPECT_FALSE(fs::exists(folder / "step-4.partial-1"));
  EXPECT_FALSE(fs::exists(folder / "step-1.removed-77"));
  EXPECT_TRUE(fs::exists(folder / "step-x.partial-1")) << "not one of ours";
  EXPECT_TRUE(fs::exists(folder / "notes"));
}

TEST_F(Saved, OneIsReplacedByALaterOneOfItsStep) {
  const fs::path folder = new_folder("replaced");
  save(folder, 2);
  fs::resize_file(folder / "step-2/blocks-0", 5);

  save(folder, 2);

  EXPECT_NO_THROW(verify_checkpoint(folder / "step-2"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
}

TEST_F(Saved, AnUnfinishedOneIsNotListed) {
  const fs::path folder = new_folder("unfinished");
  save(folder, 2);
  fs::create_directories(folder / "step-4.partial-1");

  EXPECT_EQ(list_checkpoints(folder).size(), 1u);
}

}  // namespace
}  // namespace troupe::tests
