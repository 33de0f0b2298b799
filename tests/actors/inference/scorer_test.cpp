#include "actors/inference/scorer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/actors/inference/small_decoder.h"

namespace troupe::tests {
namespace {

using namespace actors;
using runtime::HeldOutDocument;

class Scorer : public SmallDecoder {
 protected:
  HeldOutDocument document(size_t tokens, uint32_t stream) const {
    HeldOutDocument out{{}, 3 * tokens, stream % 2 == 0 ? "even" : "odd"};
    for (uint64_t i = 0; i < tokens; ++i) {
      out.tokens.push_back(token(stream, i));
    }
    return out;
  }

  std::vector<Score> scores_of(const std::vector<HeldOutDocument>& documents, int64_t context) {
    return score_documents({.decoder = decoder_, .queue = queue_, .documents = documents,
                            .context = context, .progress = {}});
  }
  Score score_of(const std::vector<HeldOutDocument>& documents, int64_t context) {
    return sum_of(scores_of(documents, context));
  }

  /// The loss of target `target` when the window begins at `begin`.
  double loss(const HeldOutDocument& document, size_t begin, size_t target) {
    DecoderSequence sequence = decoder_.new_sequence();
    const Decoder::Part part{&sequence,
                             std::span(document.tokens).subspan(begin, target - begin)};
    std::vector<int32_t> targets(target - begin, -1);
    targets.back() = document.tokens[target];
    return double{decoder_.losses({&part, 1}, targets).back()};
  }
};

TEST_F(Scorer, AShortDocumentsTokensSeeAllBeforeThem) {
  const HeldOutDocument text = document(9, 1);

  const Score found = score_of({text}, 8);

  double wanted = 0;
  for (size_t target = 1; target < 9; ++target) wanted += loss(text, 0, target);
  EXPECT_DOUBLE_EQ(found.nats, wanted);
  EXPECT_EQ(found.tokens, 8);
  EXPECT_EQ(found.bytes, 27);
}

// Windows of 8 inputs begin at 0, 4, 8, ...; the targets of the first are 1 to 8, then 4 a window.
TEST_F(Scorer, ALongDocumentsTokensAreScoredOnceWithHalfAWindowBeforeThem) {
  for (const size_t tokens : {10u, 12u, 13u, 14u, 30u}) {
    const HeldOutDocument text = document(tokens, 2);

    const Score found = score_of({text}, 8);

    double wanted = 0;
    for (size_t target = 1; target < tokens; ++target) {
      const size_t begin = target <= 8 ? 0 : (target - 8 + 3) / 4 * 4;
      wanted += loss(text, begin, target);
    }
    EXPECT_DOUBLE_EQ(found.nats, wanted) << tokens;
    EXPECT_EQ(found.tokens, static_cast<int64_t>(tokens) - 1);
  }
}

TEST_F(Scorer, OddWindowsScoreEveryTokenToo) {
  const HeldOutDocument text = document(11, 3);

  const Score found = score_of({text}, 3);

  double wanted = 0;
  for (size_t target = 1; target < 11; ++target) {
    wanted += loss(text, target <= 3 ? 0 : target - 3, target);
  }
  EXPECT_DOUBLE_EQ(found.nats, wanted);
}

// Law 1: which documents are in a call does not show.
TEST_F(Scorer, ManyDocumentsAreTheSumOfEachAlone) {
  std::vector<HeldOutDocument> documents;
  Score wanted;
  for (uint32_t i = 0; i < 40; ++i) {
    documents.push_back(document(2 + 7 * i, i));
    const Score one = score_of({documents.back()}, 32);
    wanted.nats += one.nats;
    wanted.tokens += one.tokens;
    wanted.bytes += one.bytes;
  }

  const Score found = score_of(documents, 32);

  EXPECT_EQ(found.nats, wanted.nats);
  EXPECT_EQ(found.tokens, wanted.tokens);
  EXPECT_EQ(found.bytes, wanted.bytes);
}

// Law 1: what a source comes to does not depend on what else is scored.
TEST_F(Scorer, ASourceOfAMixtureIsTheSumOfItsDocumentsAlone) {
  std::vector<HeldOutDocument> documents, even;
  for (uint32_t i = 0; i < 9; ++i) {
    documents.push_back(document(5 + 11 * i, 3 + i));
    if (documents.back().source == "even") even.push_back(documents.back());
  }
  const Score wanted = score_of(even, 16);

  const auto scores = scores_of(documents, 16);
  const auto sources = scores_by_source(documents, scores);

  ASSERT_EQ(sources.size(), 2u);
  EXPECT_EQ(sources[0].source, "odd");  // the first document's
  EXPECT_EQ(sources[1].source, "even");
  EXPECT_EQ(sources[1].score.nats, wanted.nats);
  EXPECT_EQ(sources[1].score.tokens, wanted.tokens);
  EXPECT_EQ(sources[1].score.bytes, wanted.bytes);
  EXPECT_EQ(sources[0].score.tokens + sources[1].score.tokens, sum_of(scores).tokens);
}

TEST_F(Scorer, DocumentsWithoutATargetCountTheirBytesAlone) {
  const Score found = score_of({{{}, 0}, {{5}, 4}}, 8);

  EXPECT_EQ(found.nats, 0);
  EXPECT_EQ(found.tokens, 0);
  EXPECT_EQ(found.bytes, 4);
}

TEST_F(Scorer, ProgressNamesEveryDocument) {
  std::vector<int64_t> done;
  const std::vector<HeldOutDocument> documents{document(5, 1), document(6, 2)};

  score_documents({.decoder = decoder_, .queue = queue_, .documents = documents, .context = 8,
                   .progress = [&](int64_t d, int64_t all) {
                     EXPECT_EQ(all, 2);
                     done.push_back(d);
                   }});

  EXPECT_EQ(done, (std::vector<int64_t>{1, 2}));
}

TEST_F(Scorer, AWindowOfOnePositionIsRefused) {
  EXPECT_THROW(score_of({document(5, 1)}, 1), kernels::KernelError);
}

TEST(Score, BitsPerByteCountsBitsOfTokensOverBytesOfText) {
  const Score score{.nats = 8 * std::log(2.0), .tokens = 2, .bytes = 4};

  EXPECT_DOUBLE_EQ(score.bits_per_byte(), 2.0);
  EXPECT_DOUBLE_EQ(score.loss(), 4 * std::log(2.0));
  EXPECT_EQ(Score{}.bits_per_byte(), 0.0);
}

}  // namespace
}  // namespace troupe::tests
