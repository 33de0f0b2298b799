#include "actors/inference/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "actors/train/plain_loop.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using kernels::AttentionForm;
using kernels::KernelError;
using testing::HasSubstr;

constexpr int64_t sequences = 3, rows = 21;

uint64_t below(uint32_t stream, uint64_t position, uint64_t n) {
  return kernels::random_below({7, kernels::Purpose::test, stream, position}, n);
}

/// A small model with random weights and a bias that changes choices, and what the training
/// forward makes of random tokens.
struct Model {
  Recipe recipe = small_recipe();
  std::unique_ptr<runtime::StateArena> arena;
  std::vector<float> bias;
  std::vector<int32_t> tokens;  // [sequences, rows]

  explicit Model(const kernels::ModelShape& shape = small_shape()) {
    recipe.shape = shape;
    recipe.sequences = sequences;
    recipe.sequence_rows = rows;
    recipe.micro_batches = 1;
    arena = std::make_unique<runtime::StateArena>(kernels::parameters(shape));
    runtime::initialise(*arena, 3, 0.4f);
    for (int64_t i = 0; i < recipe.moe_layers() * shape.experts; ++i) {
      bias.push_back(0.1f * static_cast<float>(below(1, static_cast<uint64_t>(i), 5)));
    }
    for (int64_t i = 0; i < sequences * rows; ++i) {
      tokens.push_back(static_cast<int32_t>(
          below(2, static_cast<uint64_t>(i), static_cast<uint64_t>(shape.vocabulary))));
    }
  }

  std::span<const int32_t> sequence(int64_t number) const {
    return std::span(tokens).subspan(static_cast<size_t>(number * rows), rows);
  }

  ForwardView training_forward(kernels::Queue& queue) {
    std::vector<int32_t> padded;
    for (int64_t b = 0; b < sequences; ++b) {
      padded.insert(padded.end(), sequence(b).begin(), sequence(b).end());
      padded.push_back(-1);
    }
    const MicroBatch batch = make_micro_batch(padded, sequences);
    PlainLoop loop(*arena, recipe, queue);
    loop.bias().values = bias;
    ForwardView view;
    loop.gradients({&batch, 1}, {}, {.step = 1, .epoch = {}, .scale_bits = 50}, &view);
    return view;
  }

  Decoder decoder(kernels::Queue& queue, AttentionForm form, int64_t page_rows) {
    return Decoder({.arena = *arena, .recipe = recipe, .routing_bias = bias, .queue = queue,
                    .form = form, .state = 0, .page_rows = page_rows});
  }
};

std::vector<float> to_vector(const kernels::Buffer& buffer) {
  const float* data = kernels::values<float>(buffer.view);
  return {data, data + buffer.view.count()};
}

/// Logits of all sequences, cut at random into calls that may hold several of them.
std::vector<float> decode(Decoder& decoder, const Model& model, uint32_t cutting) {
  std::deque<DecoderSequence> running;
  for (int64_t b = 0; b < sequences; ++b) running.push_back(decoder.new_sequence());
  const auto V = static_cast<size_t>(decoder.vocabulary());
  std::vector<float> out(static_cast<size_t>(sequences * rows) * V);
  uint64_t draw = 0;
  while (true) {
    std::vector<Decoder::Part> parts;
    std::vector<size_t> places;
    for (int64_t b = 0; b < sequences; ++b) {
      const auto length = static_cast<size_t>(running[static_cast<size_t>(b)].length());
      const auto most = std::min<uint64_t>(6, rows - length);
      const auto n = static_cast<size_t>(below(cutting, draw++, most + 1));  // often none
      parts.push_back({&running[static_cast<size_t>(b)], model.sequence(b).subspan(length, n)});
      places.push_back((static_cast<size_t>(b * rows) + length) * V);
    }
    const std::vector<float> logits = to_vector(decoder.logits(parts));
    auto from = logits.begin();
    for (size_t p = 0; p < parts.size(); ++p) {
      const auto n = static_cast<ptrdiff_t>(parts[p].tokens.size() * V);
      std::copy(from, from + n, out.begin() + static_cast<ptrdiff_t>(places[p]));
      from += n;
    }
    if (std::all_of(running.begin(), running.end(),
                    [](const DecoderSequence& s) { return s.length() == rows; })) {
      return out;
    }
  }
}

std::vector<kernels::ModelShape> shapes() {
  std::vector<kernels::ModelShape> all{small_shape(), small_shape(), small_shape()};
  all[1].q_lora = 0;
  all[1].normalize_top_k = false;
  all[1].mtp_layers = 0;
  all[2].yarn = small_yarn();
  all[2].shared_experts = 2;
  return all;
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const KernelError& error) {
    return error.what();
  }
  return "no error";
}

// Law 1.
TEST(Decoder, RowsHaveTheBitsOfTheTrainingForward) {
  auto all = shapes();
  all.push_back(small_gqa_shape(4, 2));
  all.push_back(small_gqa_shape(2, 2));
  for (const kernels::ModelShape& shape : all) {
    Model model(shape);
    for (const int threads : {1, 3}) {
      kernels::ThreadPool pool(threads);
      kernels::Queue queue(pool);
      const std::vector<float> wanted = model.training_forward(queue).logits;
      for (const int64_t page_rows : {1, 5, 64}) {
        Decoder decoder = model.decoder(queue, AttentionForm::expanded, page_rows);
        for (uint32_t cutting = 10; cutting < 14; ++cutting) {
          EXPECT_EQ(decode(decoder, model, cutting), wanted) << threads << " " << page_rows;
        }
      }
    }
  }
}

// Law 1: the absorbed form has bits of its own, and they do not change either.
TEST(Decoder, TheAbsorbedFormIsCloseAndDoesNotDependOnCuts) {
  for (const kernels::ModelShape& shape : shapes()) {
    Model model(shape);
    kernels::ThreadPool pool(2);
    kernels::Queue queue(pool);
    const std::vector<float> expanded = model.training_forward(queue).logits;
    Decoder pages = model.decoder(queue, AttentionForm::absorbed, 3);
    const std::vector<float> absorbed = decode(pages, model, 10);
    Decoder one_page = model.decoder(queue, AttentionForm::absorbed, 64);

    EXPECT_EQ(decode(one_page, model, 11), absorbed);
    ASSERT_EQ(absorbed.size(), expanded.size());
    for (size_t i = 0; i < absorbed.size(); ++i) EXPECT_NEAR(absorbed[i], expanded[i], 1e-4f);
  }
}

class DecoderCalls : public testing::Test {
 protected:
  kernels::ThreadPool pool_{2};
  kernels::Queue queue_{pool_};
  Model model_;
  Decoder decoder_ = model_.decoder(queue_, AttentionForm::expanded, 16);
};

TEST_F(DecoderCalls, HiddenRowsAreTheTrainingForwards) {
  DecoderSequence sequence = decoder_.new_sequence();
  const Decoder::Part part{&sequence, model_.sequence(0)};

  const std::vector<float> hidden = to_vector(decoder_.hidden({&part, 1}));

  std::vector<float> wanted = model_.training_forward(queue_).hidden;
  wanted.resize(hidden.size());
  EXPECT_EQ(hidden, wanted);
}

TEST_F(DecoderCalls, LastLogitsAreThoseOfEachPartsLastRow) {
  const std::vector<float> all = model_.training_forward(queue_).logits;
  DecoderSequence a = decoder_.new_sequence(), b = decoder_.new_sequence();
  const std::vector<Decoder::Part> parts{{&a, model_.sequence(0).first(4)},
                                         {&b, model_.sequence(1).first(9)}};

  const std::vector<float> last = to_vector(decoder_.last_logits(parts));

  const auto row = [&](int64_t r) {
    const auto at = all.begin() + r * decoder_.vocabulary();
    return std::vector<float>(at, at + decoder_.vocabulary());
  };
  std::vector<float> wanted = row(3);
  const std::vector<float> second = row(rows + 8);
  wanted.insert(wanted.end(), second.begin(), second.end());
  EXPECT_EQ(last, wanted);
}

TEST_F(DecoderCalls, LossesAreMinusTheLogarithmOfTheTargetsProbability) {
  DecoderSequence a = decoder_.new_sequence(), b = decoder_.new_sequence();
  const Decoder::Part part_a{&a, model_.sequence(0).first(5)};
  const Decoder::Part part_b{&b, model_.sequence(0).first(5)};
  const std::vector<int32_t> targets{3, -1, 0, 22, 7};
  const std::vector<float> logits = to_vector(decoder_.logits({&part_a, 1}));

  const std::vector<float> losses = decoder_.losses({&part_b, 1}, targets);

  const auto V = static_cast<size_t>(decoder_.vocabulary());
  for (size_t r = 0; r < targets.size(); ++r) {
    double sum = 0;
    for (size_t v = 0; v < V; ++v) sum += std::exp(double{logits[r * V + v]});
    const double wanted =
        targets[r] < 0 ? 0
                       : std::log(sum) - double{logits[r * V + static_cast<size_t>(targets[r])]};
    EXPECT_NEAR(losses[r], wanted, 1e-5) << r;
  }
  EXPECT_THAT(error_of([&] { decoder_.losses({&part_a, 1}, {targets.data(), 4}); }),
              HasSubstr("4 targets, wanted one for each of 5 rows"));
}

// Law 1: more rows than go through the layers at a time.
TEST_F(DecoderCalls, ManyRowsAreTheSameAsFew) {
  constexpr int64_t many = 10, length = 256;
  std::vector<int32_t> tokens;
  for (uint64_t i = 0; i < many * length; ++i) {
    tokens.push_back(static_cast<int32_t>(below(4, i, 23)));
  }
  const auto tokens_of = [&](int64_t n) {
    return std::span<const int32_t>(tokens).subspan(static_cast<size_t>(n * length), length);
  };
  std::deque<DecoderSequence> running;
  std::vector<Decoder::Part> parts;
  for (int64_t n = 0; n < many; ++n) {
    parts.push_back({&running.emplace_back(decoder_.new_sequence()), tokens_of(n)});
  }

  const std::vector<float> together = to_vector(decoder_.logits(parts));

  std::vector<float> alone;
  for (int64_t n = 0; n < many; ++n) {
    DecoderSequence sequence = decoder_.new_sequence();
    const Decoder::Part part{&sequence, tokens_of(n)};
    const std::vector<float> logits = to_vector(decoder_.logits({&part, 1}));
    alone.insert(alone.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(together, alone);
}

TEST_F(DecoderCalls, ARefusedCallChangesNothing) {
  const std::vector<float> wanted = model_.training_forward(queue_).logits;
  DecoderSequence sequence = decoder_.new_sequence(), other = decoder_.new_sequence();
  const Decoder::Part begin{&sequence, model_.sequence(0).first(6)};
  decoder_.logits({&begin, 1});
  const std::vector<int32_t> unknown{1, 23}, negative{-1}, endless(251, 1);
  const auto refused = [&](std::vector<Decoder::Part> parts) {
    return error_of([&] { decoder_.logits(parts); });
  };

  EXPECT_THAT(refused({{&other, {&unknown[0], 1}}, {&sequence, unknown}}),
              HasSubstr("token 23 is outside the vocabulary [0, 23)"));
  EXPECT_THAT(refused({{&sequence, negative}}), HasSubstr("token -1"));
  EXPECT_THAT(refused({{&other, {&endless[0], 3}}, {&sequence, endless}}),
              HasSubstr("257 positions, the model has 256"));
  EXPECT_THAT(refused({{&sequence, negative}, {&sequence, {}}}), HasSubstr("token -1"));
  EXPECT_THAT(refused({{&sequence, {}}, {&sequence, {}}}), HasSubstr("twice"));
  EXPECT_THAT(error_of([&] {
                const Decoder::Part none{&sequence, {}};
                decoder_.last_logits({&none, 1});
              }),
              HasSubstr("without tokens"));

  EXPECT_EQ(other.length(), 0);
  EXPECT_EQ(sequence.length(), 6);
  const Decoder::Part rest{&sequence, model_.sequence(0).subspan(6)};
  const std::vector<float> logits = to_vector(decoder_.logits({&rest, 1}));
  const auto from = wanted.begin() + 6 * decoder_.vocabulary();
  EXPECT_EQ(logits, std::vector<float>(from, from + (rows - 6) * decoder_.vocabulary()));
}

TEST_F(DecoderCalls, NothingGivesNothing) {
  DecoderSequence sequence = decoder_.new_sequence();
  const Decoder::Part none{&sequence, {}};

  EXPECT_EQ(decoder_.logits({}).view.rows(), 0);
  EXPECT_EQ(decoder_.logits({&none, 1}).view.rows(), 0);
  EXPECT_TRUE(decoder_.losses({}, {}).empty());
}

TEST_F(DecoderCalls, AShortBiasIsRefused) {
  model_.bias.resize(3);

  EXPECT_THAT(error_of([&] { model_.decoder(queue_, AttentionForm::expanded, 16); }),
              HasSubstr("the routing bias has 3 values, wanted 4"));
}

}  // namespace
}  // namespace troupe::tests
