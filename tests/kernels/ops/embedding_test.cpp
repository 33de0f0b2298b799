#include "kernels/ops/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/embedding.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

TEST(Embedding, GivesTheRowOfEachId) {
  ThreadPool pool(2);
  Queue queue(pool);
  const std::vector<int32_t> ids{3, 0, 3, 6};
  const Buffer weight = normal({7, 5}, 1), y = allocate_f32({4, 5});
  const Buffer id_buffer = integers(ids, {4});

  embed(queue, {.ids = id_buffer, .weight = weight, .y = y});
  queue.wait();

  EXPECT_EQ(to_doubles(y), reference::embed(ids, to_doubles(weight), 5));
}

TEST(Embedding, BackwardAgreesWithFiniteDifferences) {
  ThreadPool pool(2);
  Queue queue(pool);
  const std::vector<int32_t> ids{3, 0, 3, 6, 3, 0};
  const Buffer weight = normal({7, 19}, 1), dy = normal({6, 19}, 2), dweight = normal({7, 19}, 3);
  const Buffer id_buffer = integers(ids, {6});
  const Doubles dys = to_doubles(dy);

  embed_backward_weights(queue, {.ids = id_buffer, .dy = dy, .dweight = dweight});
  queue.wait();

  const Doubles found = to_doubles(dweight);
  const Doubles numeric = finite_differences(
      [&](const Doubles& w) { return inner_product(reference::embed(ids, w, 19), dys); },
      to_doubles(weight));
  EXPECT_LT(relative_difference(found, reference::embed_backward_weights(ids, dys, 7, 19)), 3e-7);
  EXPECT_LT(relative_difference(found, numeric), 1e-6);
}

// Law 2: inside a unit the rows of an id are added in token order.
TEST(Embedding, BackwardAddsRowsInTokenOrder) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer dweight = allocate_f32({1, 1}), ids = integers({0, 0, 0}, {3});
  const Buffer large_first = floats({1.0f, 0x1p-24f, 0x1p-24f}, {3, 1});
  const Buffer large_last = floats({0x1p-24f, 0x1p-24f, 1.0f}, {3, 1});

  embed_backward_weights(queue, {.ids = ids, .dy = large_first, .dweight = dweight});
  queue.wait();
  EXPECT_EQ(to_vector(dweight)[0], 1.0f);

  embed_backward_weights(queue, {.ids = ids, .dy = large_last, .dweight = dweight});
  queue.wait();
  EXPECT_EQ(to_vector(dweight)[0], 1.0f + 0x1p-23f);
}

// Law 1.
TEST(Embedding, GivesTheSameBitsInAnyArrangement) {
  const int64_t T = 900, D = 1035, V = 50;
  const Buffer weight = normal({V, D}, 1), dy = normal({T, D}, 2);
  const Buffer ids = integers(random_integers(T, V, 3), {T});

  const auto all = expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer out = allocate_f32({T + V, D});
    embed(queue, {.ids = ids, .weight = weight, .y = row_range(out.view, 0, T)});
    embed_backward_weights(queue, {.ids = ids, .dy = dy, .dweight = row_range(out.view, T, V)});
    queue.wait();
    return to_vector(out);
  });

  EXPECT_LT(relative_difference(
                {all.begin() + T * D, all.end()},
                reference::embed_backward_weights(vector_of<int32_t>(ids), to_doubles(dy), V, D)),
            1e-6);
}

TEST(Embedding, NoTokensGiveAGradientOfZeros) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer ids = allocate(DType::i32, {0}), dy = allocate_f32({0, 8}), dw = normal({5, 8}, 1);

  embed(queue, {.ids = ids, .weight = dw, .y = dy});
  embed_backward_weights(queue, {.ids = ids, .dy = dy, .dweight = dw});
  queue.wait();

  EXPECT_EQ(to_vector(dw), std::vector<float>(40, 0.0f));
}

TEST(Embedding, AnIdOutsideTheVocabularyIsAnErrorFromTheQueue) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer weight = normal({7, 5}, 1), y = allocate_f32({2, 5});
  for (const int32_t bad : {7, -1}) {
    const Buffer ids = integers({0, bad}, {2});
    const std::string wanted = "id " + std::to_string(bad) + " at row 1, wanted 0 to 6";

    embed(queue, {.ids = ids, .weight = weight, .y = y});
    EXPECT_THAT(kernel_error([&] { queue.wait(); }), HasSubstr(wanted));

    embed_backward_weights(queue, {.ids = ids, .dy = y, .dweight = weight});
    EXPECT_THAT(kernel_error([&] { queue.wait(); }), HasSubstr(wanted));
  }
}

TEST(Embedding, RefusesOtherShapesByName) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer weight = normal({7, 5}, 1), y = allocate_f32({2, 6}), ids = integers({0, 1}, {2});

  EXPECT_THAT(kernel_error([&] { embed(queue, {.ids = ids, .weight = weight, .y = y}); }),
              HasSubstr("embed weight is [7, 5] f32, wanted [7, 6] f32"));
  EXPECT_THAT(kernel_error(
                  [&] { embed_backward_weights(queue, {.ids = ids, .dy = y, .dweight = weight}); }),
              HasSubstr("embed_backward_weights dweight is [7, 5] f32, wanted [7, 6] f32"));
  EXPECT_THAT(
      kernel_error([&] { embed_backward_weights(queue, {.ids = y, .dy = y, .dweight = weight}); }),
      HasSubstr("embed_backward_weights ids is [2, 6] f32, wanted [2] i32"));
}

}  // namespace
}  // namespace troupe::tests
