#include "kernels/layers/mtp.h"

#include <gtest/gtest.h>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/layers.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t rows = 4, sequences = 3, hidden = 6, vocabulary = 9;

struct Joint {
  MtpTensors<Buffer> buffers{normal({vocabulary, hidden}, 1), normal({hidden}, 2),
                             normal({hidden}, 3), normal({hidden, 2 * hidden}, 4, 0.4f)};
  Buffer h = normal({sequences * rows, hidden}, 5);
  Buffer ids = integers(random_integers(sequences * (rows - 1), vocabulary, 6),
                        {sequences * (rows - 1)});
  Buffer dy = normal({sequences * (rows - 1), hidden}, 7);
  Buffer y = allocate_f32({sequences * (rows - 1), hidden});
  Buffer dh = allocate_f32({sequences * rows, hidden});

  MtpArgs args() {
    return {.rms_eps = 1e-6f, .weights = views(buffers), .h = h, .ids = ids, .rows = rows};
  }
  Doubles reference(const MtpTensors<Doubles>& w, const Doubles& at) const {
    return reference::mtp_joint(w, at, vector_of<int32_t>(ids), rows, 1e-6);
  }
};

TEST(Mtp, JoinsTheTokenAheadWithTheHiddenRow) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Joint joint;

  mtp_forward(queue, scratch, joint.args(), joint.y);
  queue.wait();

  const Doubles expected = joint.reference(doubles(joint.buffers), to_doubles(joint.h));
  EXPECT_LT(relative_difference(to_doubles(joint.y), expected), 2e-6);
}

TEST(Mtp, BackwardGivesTheDerivativesOfHiddenRowsAndWeights) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Joint joint;
  auto sums = sums_for(joint.buffers);

  const MtpSaved saved = mtp_forward(queue, scratch, joint.args(), joint.y);
  const MtpDeltas deltas =
      mtp_backward_inputs(queue, scratch, joint.args(), saved, joint.dy, joint.dh);
  mtp_backward_weights(queue, scratch, joint.args(), saved, joint.dy, deltas, gradients(sums));
  queue.wait();

  const auto weights = doubles(joint.buffers);
  const Doubles dy = to_doubles(joint.dy), h = to_doubles(joint.h);
  const Doubles expected = finite_differences(
      [&](const Doubles& at) { return inner_product(dy, joint.reference(weights, at)); }, h);
  EXPECT_LT(relative_difference(to_doubles(joint.dh), expected), 1e-5);
  expect_derivatives(sums, weights, [&](const MtpTensors<Doubles>& w) {
    return inner_product(dy, joint.reference(w, h));
  });
  for (int64_t b = 0; b < sequences; ++b) {
    const auto last = to_vector(row_range(joint.dh.view, b * rows + rows - 1, 1));
    EXPECT_EQ(last, std::vector<float>(hidden, 0.0f)) << "nothing lies ahead of a last row";
  }
}

TEST(Mtp, TheBitsAreTheSameEverywhere) {
  Joint joint;

  expect_same_bits_everywhere([&](Queue& queue) {
    Scratch scratch;
    auto sums = sums_for(joint.buffers);
    const MtpSaved saved = mtp_forward(queue, scratch, joint.args(), joint.y);
    const MtpDeltas deltas =
        mtp_backward_inputs(queue, scratch, joint.args(), saved, joint.dy, joint.dh);
    mtp_backward_weights(queue, scratch, joint.args(), saved, joint.dy, deltas, gradients(sums));
    queue.wait();
    std::vector<double> all = to_doubles(joint.y);
    for (const double v : to_doubles(joint.dh)) all.push_back(v);
    for (const auto& [name, sum] : members(sums)) {
      for (const double v : sum->values()) all.push_back(v);
    }
    return all;
  });
}

}  // namespace
}  // namespace troupe::tests
