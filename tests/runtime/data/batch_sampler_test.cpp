#include "runtime/data/batch_sampler.h"

#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <thread>

#include "runtime/data/error.h"
#include "tests/runtime/data/line_corpus.h"

namespace troupe::runtime {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

class BatchSamplerTest : public testing::Test {
 protected:
  BatchSamplerTest()
      : path_(fs::path(testing::TempDir()) /
              ("batch_sampler_" +
               std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) +
               ".jsonl")) {
    std::ofstream file(path_);
    for (int i = 0; i < 40; ++i) {
      file << "{\"text\": \"" << std::string(static_cast<std::size_t>(i * i % 23), 'a' + i % 26)
           << "\"}\n";
    }
    file.close();
    SourceText text({.sources = {{.name = "",
                                  .text = {},
                                  .jsonl = {path_},
                                  .tokens = {},
                                  .holdout = 0.2,
                                  .weight = 1}},
                     .seed = 1});
    tokenizer_ = std::make_unique<Tokenizer>(
        Tokenizer::from_json(write_tokenizer_json(text.train_tokenizer(265)), "bytes"));
    corpus_ = std::make_unique<Corpus>(std::move(text).encode(*tokenizer_));
  }
  ~BatchSamplerTest() override { fs::remove(path_); }

  Ids sequences(BatchSampler& sampler, std::uint64_t first, std::uint64_t count) const {
    Ids tokens(count * static_cast<std::uint64_t>(sampler.seq_len() + 1));
    sampler.fill(first, count, tokens);
    return tokens;
  }

  /// The first `n` tokens of the stream, through sequences of `seq_len`.
  Ids stream(std::uint64_t seed, std::int32_t seq_len, std::size_t n) const {
    BatchSampler sampler({.corpus = *corpus_, .seed = seed, .seq_len = seq_len});
    Ids result;
    for (std::uint64_t i = 0; result.size() < n; ++i) {
      const Ids tokens = sequences(sampler, i, 1);
      result.insert(result.end(), tokens.begin(), tokens.end() - 1);
    }
    result.resize(n);
    return result;
  }

  fs::path path_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Corpus> corpus_;
};

TEST_F(BatchSamplerTest, EachPassHoldsEachTrainingDocumentOnceBetweenBosAndEos) {
  BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 5});
  const auto pass = static_cast<std::size_t>(sampler.tokens_of_pass(0, 0));
  const Ids tokens = stream(1, 5, 3 * pass);
  std::map<Ids, int> wanted;
  for (const std::uint32_t i : corpus_->training()) {
    Ids document(corpus_->document_tokens(i));
    corpus_->read(i, 0, document);
    document.insert(document.begin(), tokenizer_->special().bos);
    document.push_back(tokenizer_->special().eos);
    ++wanted[document];
  }

  for (std::size_t p = 0; p < 3; ++p) {
    std::map<Ids, int> found;
    Ids document;
    for (std::size_t i = p * pass; i < (p + 1) * pass; ++i) {
      document.push_back(tokens[i]);
      if (tokens[i] != tokenizer_->special().eos) continue;
      ++found[document];
      document.clear();
    }
    EXPECT_EQ(found, wanted) << "pass " << p;
    EXPECT_TRUE(document.empty());
  }
}

TEST_F(BatchSamplerTest, PassesAndSeedsShuffleDifferently) {
  BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 5});
  const auto pass = static_cast<std::ptrdiff_t>(sampler.tokens_of_pass(0, 0));
  const Ids tokens = stream(1, 5, static_cast<std::size_t>(2 * pass));

  EXPECT_NE(Ids(tokens.begin(), tokens.begin() + pass), Ids(tokens.begin() + pass, tokens.end()));
  EXPECT_NE(stream(2, 5, 100), stream(1, 5, 100));
}

TEST_F(BatchSamplerTest, NeighboursShareOneTokenSoThatEachIsATargetOnce) {
  BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 7});

  const Ids tokens = sequences(sampler, 0, 50);

  for (std::size_t i = 0; i + 1 < 50; ++i) EXPECT_EQ(tokens[i * 8 + 7], tokens[(i + 1) * 8]);
}

// Law 2: how the batch is cut never shows in its tokens.
TEST_F(BatchSamplerTest, CutsIntoBatchesDoNotShow) {
  BatchSampler whole({.corpus = *corpus_, .seed = 1, .seq_len = 6});
  const Ids wanted = sequences(whole, 0, 120);

  for (const std::uint64_t cut : {1, 2, 7, 50}) {
    BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 6});
    Ids found;
    for (std::uint64_t first = 0; first < 120; first += cut) {
      const Ids part = sequences(sampler, first, std::min<std::uint64_t>(cut, 120 - first));
      found.insert(found.end(), part.begin(), part.end());
    }
    EXPECT_EQ(found, wanted) << "cut " << cut;
  }
}

// Law 5: nothing is remembered from one call to the next.
TEST_F(BatchSamplerTest, SequenceIsAFunctionOfItsNumber) {
  BatchSampler straight({.corpus = *corpus_, .seed = 1, .seq_len = 6});
  const Ids wanted = sequences(straight, 0, 300);

  for (int i = 299; i >= 0; i -= 7) {
    BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 6});
    const Ids found = sequences(sampler, static_cast<std::uint64_t>(i), 1);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), wanted.begin() + i * 7)) << i;
  }
}

TEST_F(BatchSamplerTest, SequenceLengthDoesNotChangeTheStream) {
  EXPECT_EQ(stream(1, 3, 500), stream(1, 200, 500));
  BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 2000});  // several passes in one
  EXPECT_GT(2000u, 2 * sampler.tokens_of_pass(0, 0));
  EXPECT_EQ(stream(1, 2000, 2000), stream(1, 11, 2000));
}

TEST_F(BatchSamplerTest, ManyThreadsReadTheSame) {
  BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 6});
  const Ids wanted = sequences(sampler, 0, 200);
  std::vector<Ids> found(4);
  std::vector<std::thread> threads;

  for (Ids& ids : found) threads.emplace_back([&] { ids = sequences(sampler, 0, 200); });
  for (std::thread& thread : threads) thread.join();

  EXPECT_THAT(found, testing::Each(wanted));
}

TEST_F(BatchSamplerTest, HeldOutDocumentsNeverAppear) {
  ASSERT_FALSE(corpus_->held_out().empty());
  std::uint64_t tokens = 0;
  for (const std::uint32_t i : corpus_->training()) tokens += corpus_->document_tokens(i) + 2;

  BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 5});

  EXPECT_EQ(sampler.tokens_of_pass(0, 0), tokens);
}

/// Two sources of weights 7 and 3, everything rewritten.
class MixedSamplerTest : public testing::Test {
 protected:
  BatchSampler sampler() const {
    return BatchSampler({.corpus = *lines_.corpus,
                         .seed = 1,
                         .seq_len = 9,
                         .fim_rate = 0.5,
                         .split_joined_rate = 0.5});
  }

  static Ids sequences(BatchSampler& sampler, std::uint64_t first, std::uint64_t count) {
    Ids tokens(count * 10);
    sampler.fill(first, count, tokens);
    return tokens;
  }

  LineCorpus lines_{{.n = 60,
                     .has_more = true,
                     .holdout = 0.2}};
};

TEST_F(MixedSamplerTest, SequencesOfASourceFollowOneAnother) {
  BatchSampler mixed = sampler();
  const double weights[] = {7, 3};
  Mixture mixture(weights);
  const Rewriter rewriter(
      {.corpus = *lines_.corpus, .seed = 1, .fim_rate = 0.5, .split_joined_rate = 0.5});
  const Ids tokens = sequences(mixed, 0, 2000);

  for (std::uint32_t s = 0; s < 2; ++s) {
    DocumentStream stream({.corpus = *lines_.corpus,
                           .rewriter = rewriter,
                           .documents = lines_.corpus->sources()[s].training,
                           .seed = 1});
    std::uint64_t index = 0;
    for (std::uint64_t i = 0; i < 2000; ++i) {
      if (mixture.draws(i, 1)[0].source != s) continue;
      Ids wanted(10);
      stream.read(9 * index++, wanted);
      EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(),
                             tokens.begin() + static_cast<std::ptrdiff_t>(10 * i)))
          << "source " << s << ", sequence " << i;
    }
    EXPECT_EQ(index, s == 0 ? 1400u : 600u);
  }
}

// A run that goes on at any sequence sees what it would have seen.
TEST_F(MixedSamplerTest, SequenceIsAFunctionOfItsNumber) {
  BatchSampler straight = sampler();
  const Ids wanted = sequences(straight, 0, 5000);
  EXPECT_GT(5000u * 9 * 3 / 10, 3 * straight.tokens_of_pass(1, 0)) << "several passes";

  for (std::uint64_t i = 4990; i > 700; i -= 611) {
    BatchSampler fresh = sampler();
    const Ids found = sequences(fresh, i, 3);
    EXPECT_TRUE(std::equal(found.begin(), found.end(),
                           wanted.begin() + static_cast<std::ptrdiff_t>(10 * i)))
        << i;
  }
}

TEST_F(MixedSamplerTest, ManyThreadsReadTheSame) {
  BatchSampler mixed = sampler();
  const Ids wanted = sequences(mixed, 0, 1000);
  BatchSampler fresh = sampler();
  std::vector<Ids> found(4);
  std::vector<std::thread> threads;

  for (Ids& ids : found) threads.emplace_back([&] { ids = sequences(fresh, 0, 1000); });
  for (std::thread& thread : threads) thread.join();

  EXPECT_THAT(found, testing::Each(wanted));
}

TEST_F(BatchSamplerTest, WrongRoomAndWrongLengthAreRefused) {
  BatchSampler sampler({.corpus = *corpus_, .seed = 1, .seq_len = 5});
  Ids tokens(12);

  EXPECT_THROW(sampler.fill(0, 1, tokens), DataError);
  EXPECT_THROW(sampler.fill(0, ~std::uint64_t{0}, tokens), DataError);
  EXPECT_THAT([&] { sampler.fill(~std::uint64_t{0}, 2, tokens); },
              ThrowsMessage<DataError>(HasSubstr("beyond 2^62")));
  EXPECT_THROW(BatchSampler({.corpus = *corpus_, .seed = 1, .seq_len = 0}), DataError);
}

}  // namespace
}  // namespace troupe::runtime
