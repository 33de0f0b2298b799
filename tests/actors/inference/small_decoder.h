// A decoder of the small model, whose first state is drawn wide enough to have opinions.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "actors/inference/decoder.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {

class SmallDecoder : public testing::Test {
 protected:
  SmallDecoder() : arena_(kernels::parameters(recipe_.shape)) {
    runtime::initialise(arena_, 3, 0.4f);
  }

  /// Token `position` of a random text.
  static int32_t token(uint32_t stream, uint64_t position) {
    return static_cast<int32_t>(
        kernels::random_below({1, kernels::Purpose::test, stream, position}, 23));
  }

  actors::Recipe recipe_ = small_recipe();
  runtime::StateArena arena_;
  const std::vector<float> bias_ = std::vector<float>(8, 0.0f);
  kernels::ThreadPool pool_{2};
  kernels::Queue queue_{pool_};
  actors::Decoder decoder_{{.arena = arena_, .recipe = recipe_, .routing_bias = bias_,
                            .queue = queue_, .form = kernels::AttentionForm::expanded, .state = 0,
                            .page_rows = 8}};
};

}  // namespace troupe::tests
