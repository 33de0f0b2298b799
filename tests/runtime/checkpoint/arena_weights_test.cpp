#include "runtime/checkpoint/arena_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/layers/params.h"
#include "runtime/checkpoint/huggingface.h"
#include "runtime/model_shape.h"
#include "tests/runtime/checkpoint/fixtures.h"

namespace troupe::runtime {
namespace {

using ArenaWeightsTest = FolderTest;

std::vector<float> read(const WeightSource& source, const WeightInfo& info) {
  std::vector<float> values(static_cast<size_t>(info.count()));
  source.read_f32(info.name, values);
  return values;
}

TEST_F(ArenaWeightsTest, AModelGoesThroughTheArenaBitForBit) {
  const HuggingFaceModel model = open_huggingface(golden("yarn-mtp"));
  StateArena arena(kernels::parameters(model_shape(model.model)));
  const std::vector<float> bias = load_weights(*model.weights, arena);
  EXPECT_EQ(bias.size(), 3u * 8u);

  auto sink = create_huggingface({.folder = folder_ / "out",
                                  .model = model.model,
                                  .dtype = ExportDType::f32,
                                  .bos_token_id = -1,
                                  .eos_token_id = -1,
                                  .largest_file_bytes = 1 << 30});
  save_weights({.arena = arena, .state = 0, .routing_bias = bias}, *sink);
  sink->finish();

  const HuggingFaceModel again = open_huggingface(folder_ / "out");
  for (const WeightInfo& info : model.weights->list()) {
    EXPECT_EQ(read(*again.weights, info), read(*model.weights, info)) << info.name;
  }
}

TEST_F(ArenaWeightsTest, TheEmaBeginsAtTheLoadedWeightsAndStandsInTheirPlace) {
  const HuggingFaceModel model = open_huggingface(golden("plain"));
  StateArena arena(kernels::parameters(model_shape(model.model)), {.has_ema = true});
  const std::vector<float> bias = load_weights(*model.weights, arena);
  const auto norm = arena.mutable_weight(arena.index("model.norm.weight"), 0);
  kernels::values<float>(norm)[2] = 9.0f;  // after the EMA began

  const auto list = weight_list(model.model);
  const StateWeights average({.arena = arena, .state = 0, .routing_bias = bias, .takes_ema = true},
                             list);

  for (const WeightInfo& info : list) {
    EXPECT_EQ(read(average, info), read(*model.weights, info)) << info.name;
  }
  const StateWeights weights({.arena = arena, .state = 0, .routing_bias = bias}, list);
  std::vector<float> values(static_cast<size_t>(norm.count()));
  weights.read_f32("model.norm.weight", values);
  EXPECT_EQ(values[2], 9.0f);
}

TEST_F(ArenaWeightsTest, AnArenaOfAnotherModelIsRefused) {
  const HuggingFaceModel model = open_huggingface(golden("plain"));
  kernels::ModelShape shape = model_shape(model.model);
  shape.vocabulary = 64;
  StateArena arena(kernels::parameters(shape));

  EXPECT_EQ(error_of([&] { load_weights(*model.weights, arena); }),
            "tensor model.embed_tokens.weight: found [128, 64], wanted [64, 64]");
  shape.vocabulary = 128;
  shape.mtp_layers = 1;
  StateArena larger(kernels::parameters(shape));
  EXPECT_EQ(error_of([&] { load_weights(*model.weights, larger); }),
            "tensor model.layers.3.enorm.weight: found none, wanted [64]");
}

TEST_F(ArenaWeightsTest, ABiasThatIsTooShortIsRefused) {
  const HuggingFaceModel model = open_huggingface(golden("plain"));
  StateArena arena(kernels::parameters(model_shape(model.model)));
  std::vector<float> bias = load_weights(*model.weights, arena);
  bias.pop_back();
  auto sink = create_huggingface({.folder = folder_ / "out",
                                  .model = model.model,
                                  .dtype = ExportDType::f32,
                                  .bos_token_id = -1,
                                  .eos_token_id = -1,
                                  .largest_file_bytes = 1 << 30});

  EXPECT_THAT(error_of([&] {
                save_weights({.arena = arena, .state = 0, .routing_bias = bias}, *sink);
              }),
              testing::HasSubstr("routing bias: found 15 elements"));
}

}  // namespace
}  // namespace troupe::runtime
