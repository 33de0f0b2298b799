// Prefill and decode: law 1 for the whole attention layer.
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/layers/attention/mla.h"
#include "tests/kernels/layers/layer_fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t length = 75;  // more than one tile of keys and one page

std::string name_of(AttentionForm form) {
  return form == AttentionForm::expanded ? "Expanded" : "Absorbed";
}

class MlaCached : public testing::TestWithParam<AttentionForm> {
 protected:
  MlaCached()
      : shape_(small_shape()), buffers_(mla_weights(shape_)),
        rope_(rope_table(length, shape_.rope, shape_.rope_theta, shape_.yarn)), pool_(2),
        queue_(pool_) {}

  MlaContext context() const {
    return {&shape_, &rope_, softmax_scale(shape_.query_width(), shape_.yarn)};
  }

  /// One call that continues each cache by the next rows of its sequence x. Rows of all, in order.
  struct Part {
    LayerCache* cache;
    const Buffer* x;
    int64_t rows;
  };
  std::vector<float> call(const std::vector<Part>& parts) {
    int64_t T = 0;
    for (const Part& part : parts) T += part.rows;
    const Buffer x = allocate_f32({T, shape_.hidden}), y = allocate_f32({T, shape_.hidden});
    const Buffer positions = allocate(DType::i32, {T});
    std::vector<CachedSequence> sequences;
    int64_t row = 0;
    for (const Part& part : parts) {
      for (int64_t i = 0; i < part.rows; ++i, ++row) {
        const int64_t position = part.cache->length + i;
        values<int32_t>(positions.view)[row] = static_cast<int32_t>(position);
        std::memcpy(values<float>(x.view) + row * shape_.hidden,
                    values<float>(part.x->view) + position * shape_.hidden,
                    static_cast<size_t>(shape_.hidden) * sizeof(float));
      }
      sequences.push_back({part.rows, part.cache});
    }
    Scratch scratch;
    mla_cached(queue_, scratch, {.context = context(), .weights = views(buffers_),
                                 .form = GetParam(), .x = x, .positions = positions,
                                 .sequences = std::move(sequences), .y = y});
    queue_.wait();
    return to_vector(y);
  }

  /// The whole of x in calls of the given sizes.
  std::vector<float> in_calls(const Buffer& x, int64_t page_rows, const std::vector<int64_t>& calls) {
    LayerCache cache{.page_rows = page_rows, .length = 0, .pages = {}};
    std::vector<float> y;
    for (const int64_t rows : calls) {
      const auto part = call({{&cache, &x, rows}});
      y.insert(y.end(), part.begin(), part.end());
    }
    return y;
  }

  std::vector<float> training_forward(const Buffer& x) {
    Scratch scratch;
    const Buffer y = allocate_f32({length, shape_.hidden});
    const Buffer positions = allocate(DType::i32, {length});
    std::iota(values<int32_t>(positions.view), values<int32_t>(positions.view) + length, 0);
    mla_forward(queue_, scratch, {.context = context(), .weights = views(buffers_), .x = x,
                                  .positions = positions, .sequence_rows = length, .y = y});
    queue_.wait();
    return to_vector(y);
  }

  ModelShape shape_;
  MlaTensors<Buffer> buffers_;
  RopeTable rope_;
  ThreadPool pool_;
  Queue queue_;
};

// Law 1: prefill at once, in pieces of any size and decode are one function.
TEST_P(MlaCached, CutsAndPagesDoNotShow) {
  const Buffer x = normal({length, shape_.hidden}, 11);

  const auto whole = in_calls(x, 64, {length});

  EXPECT_TRUE(same_bits(in_calls(x, 64, std::vector<int64_t>(length, 1)), whole)) << "decode";
  EXPECT_TRUE(same_bits(in_calls(x, 16, {1, 15, 17, 0, 31, 11}), whole));
  EXPECT_TRUE(same_bits(in_calls(x, 7, {40, 1, 1, 33}), whole));
  EXPECT_TRUE(same_bits(in_calls(x, 1, {3, 72}), whole));
  EXPECT_TRUE(same_bits(in_calls(x, 1000, {74, 1}), whole));
}

// Law 1: the expanded form has the bits of training; the absorbed one rounds differently.
TEST_P(MlaCached, IsTheTrainingForward) {
  const Buffer x = normal({length, shape_.hidden}, 12);

  const auto cached = in_calls(x, 64, {50, 25});
  const auto trained = training_forward(x);

  if (GetParam() == AttentionForm::expanded) {
    EXPECT_TRUE(same_bits(cached, trained));
  } else {
    const Doubles expected(trained.begin(), trained.end());
    EXPECT_LT(relative_difference({cached.begin(), cached.end()}, expected), 1e-5);
    EXPECT_FALSE(same_bits(cached, trained)) << "nobody absorbed anything";
  }
}

// Law 1: a sequence's rows are the same alone and beside others at other lengths.
TEST_P(MlaCached, CompanyDoesNotShow) {
  const Buffer a = normal({length, shape_.hidden}, 13), b = normal({length, shape_.hidden}, 14);
  const auto alone = in_calls(a, 16, {length});
  LayerCache cache_a{.page_rows = 16, .length = 0, .pages = {}};
  LayerCache cache_b{.page_rows = 32, .length = 0, .pages = {}};
  std::vector<float> beside;
  const auto keep = [&](const std::vector<float>& y, int64_t first, int64_t rows) {
    beside.insert(beside.end(), y.begin() + first * shape_.hidden,
                  y.begin() + (first + rows) * shape_.hidden);
  };

  call({{&cache_b, &b, 20}});
  keep(call({{&cache_a, &a, 33}, {&cache_b, &b, 1}}), 0, 33);
  keep(call({{&cache_b, &b, 4}, {&cache_a, &a, 1}}), 4, 1);
  keep(call({{&cache_b, &b, 0}, {&cache_a, &a, 41}}), 0, 41);

  EXPECT_TRUE(same_bits(beside, alone));
  EXPECT_EQ(cache_b.length, 25);
}

TEST_P(MlaCached, TheBitsAreTheSameEverywhere) {
  const Buffer x = normal({20, shape_.hidden}, 15);
  const Buffer positions = allocate(DType::i32, {20});
  std::iota(values<int32_t>(positions.view), values<int32_t>(positions.view) + 20, 0);

  expect_same_bits_everywhere([&](Queue& queue) {
    Scratch scratch;
    LayerCache cache;
    const Buffer y = allocate_f32({20, shape_.hidden});
    mla_cached(queue, scratch, {.context = context(), .weights = views(buffers_),
                                .form = GetParam(), .x = x, .positions = positions,
                                .sequences = {{20, &cache}}, .y = y});
    queue.wait();
    return to_vector(y);
  });
}

// A refused call leaves every cache as it was: the others can go on.
TEST_P(MlaCached, ARefusedCallChangesNoCache) {
  LayerCache full{.page_rows = 64, .length = 0, .pages = {}}, other = full;
  const Buffer x = normal({length, shape_.hidden}, 16);
  call({{&full, &x, length}});
  shape_.max_positions = length;

  const std::string error =
      kernel_error([&] { call({{&other, &x, 2}, {&full, &x, 1}}); });

  EXPECT_EQ(error, "a sequence of 76 positions, the model has 75");
  EXPECT_EQ(other.length, 0);
  EXPECT_EQ(full.length, length);
}

TEST_P(MlaCached, RowsThatBelongToNoSequenceAreRefused) {
  LayerCache cache, bad{.page_rows = 0, .length = 0, .pages = {}};
  Scratch scratch;
  const Buffer x = normal({3, shape_.hidden}, 17), y = allocate_f32({3, shape_.hidden});
  const Buffer positions = integers({0, 1, 2}, {3});
  MlaCachedArgs args{.context = context(), .weights = views(buffers_), .form = GetParam(), .x = x,
                     .positions = positions, .sequences = {{2, &cache}}, .y = y};

  EXPECT_EQ(kernel_error([&] { mla_cached(queue_, scratch, args); }),
            "mla_cached: 3 rows, its sequences have 2");
  args.sequences = {{3, &bad}};
  EXPECT_EQ(kernel_error([&] { mla_cached(queue_, scratch, args); }),
            "mla_cached: a cache with pages of 0 rows");
}

INSTANTIATE_TEST_SUITE_P(Forms, MlaCached,
                         testing::Values(AttentionForm::expanded, AttentionForm::absorbed),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace troupe::tests
