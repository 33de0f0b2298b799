#include "runtime/data/corpus.h"

#include <gmock/gmock.h>

#include <fstream>
#include <set>

#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
namespace fs = std::filesystem;

/// A dictionary whose entry i is "w<i>" and a body.
class CorpusTest : public testing::Test {
 protected:
  CorpusTest()
      : folder_(fs::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::create_directories(folder_);
    std::ofstream file(folder_ / "words.dict");
    for (int i = 0; i < n_entries; ++i) {
      file << "w" << i << "\n\n   body of é " << i * i << ".\n\n";
    }
  }
  ~CorpusTest() override { fs::remove_all(folder_); }

  SourceText source(std::uint64_t seed, double holdout, std::vector<fs::path> tokens = {}) const {
    return SourceText({.sources = {{.name = "",
                                    .text = {folder_ / "words.dict"},
                                    .jsonl = {},
                                    .tokens = std::move(tokens),
                                    .holdout = holdout,
                                    .weight = 1}},
                       .seed = seed});
  }

  /// The words, and beside them a source of `n` lines of JSON.
  SourceText two_sources(double holdout_of_lines, int n = 200) const {
    std::ofstream file(folder_ / "lines.jsonl");
    for (int i = 0; i < n; ++i) file << "{\"text\": \"line " << i << "\"}\n";
    file << R"({"messages": [{"role": "user", "content": "?"}]})" << "\n"
         << R"({"prompt": "2 + 2", "completion": " = 4"})" << "\n";
    file.close();
    return SourceText({.sources = {{.name = "lines",
                                    .text = {},
                                    .jsonl = {folder_ / "lines.jsonl"},
                                    .tokens = {},
                                    .holdout = holdout_of_lines,
                                    .weight = 1},
                                   {.name = "words",
                                    .text = {folder_ / "words.dict"},
                                    .jsonl = {},
                                    .tokens = {},
                                    .holdout = 0.1,
                                    .weight = 3}},
                       .seed = 1});
  }

  static Tokenizer train(const SourceText& source) {
    return Tokenizer::from_json(write_tokenizer_json(source.train_tokenizer(300)), "trained");
  }

  static std::string text_of(const Corpus& corpus, const Tokenizer& tokenizer, std::uint32_t i) {
    std::vector<std::int32_t> tokens(corpus.document_tokens(i));
    corpus.read(i, 0, tokens);
    return tokenizer.decode(tokens);
  }

  static constexpr int n_entries = 1000;
  fs::path folder_;
};

TEST_F(CorpusTest, EveryDocumentIsTrainedOnOrHeldOut) {
  SourceText text = source(1, 0.1);
  const Tokenizer tokenizer = train(text);
  const Corpus corpus = std::move(text).encode(tokenizer);

  std::set<std::uint32_t> all(corpus.training().begin(), corpus.training().end());
  all.insert(corpus.held_out().begin(), corpus.held_out().end());

  EXPECT_EQ(corpus.n_documents(), 1000u);
  EXPECT_EQ(all.size(), corpus.n_documents());
  EXPECT_EQ(corpus.training().size() + corpus.held_out().size(), corpus.n_documents());
  EXPECT_NEAR(corpus.held_out().size(), 100, 30);
  EXPECT_EQ(text_of(corpus, tokenizer, 7), "w7\n\n   body of é 49.\n");
}

TEST_F(CorpusTest, SeedDrawsWhatIsHeldOut) {
  const Tokenizer tokenizer = train(source(1, 0.1));

  const Corpus one = source(1, 0.1).encode(tokenizer), same = source(1, 0.1).encode(tokenizer);
  const Corpus other = source(2, 0.1).encode(tokenizer), none = source(1, 0).encode(tokenizer);

  EXPECT_EQ(one.held_out(), same.held_out());
  EXPECT_NE(one.held_out(), other.held_out());
  EXPECT_TRUE(none.held_out().empty());
}

TEST_F(CorpusTest, LargerShareHoldsOutTheSameDocumentsAndMore) {
  const Tokenizer tokenizer = train(source(1, 0.1));
  const Corpus less = source(1, 0.1).encode(tokenizer), more = source(1, 0.3).encode(tokenizer);

  EXPECT_TRUE(std::includes(more.held_out().begin(), more.held_out().end(), less.held_out().begin(),
                            less.held_out().end()));
}

TEST_F(CorpusTest, TokenizerNeverSeesWhatIsHeldOut) {
  SourceText before = source(1, 0.2);
  const auto trained = write_tokenizer_json(before.train_tokenizer(300));
  const Corpus corpus =
      std::move(before).encode(Tokenizer::from_json(std::string(trained), "trained"));
  std::ofstream file(folder_ / "words.dict");
  const auto& held_out = corpus.held_out();
  for (std::uint32_t i = 0; i < n_entries; ++i) {
    if (std::binary_search(held_out.begin(), held_out.end(), i)) {
      file << "zzzz\n\n   zzzz zzzz zzzz zzzz zzzz\n\n";
    } else {
      file << "w" << i << "\n\n   body of é " << i * i << ".\n\n";
    }
  }
  file.close();

  EXPECT_EQ(write_tokenizer_json(source(1, 0.2).train_tokenizer(300)), trained);
}

TEST_F(CorpusTest, HeldOutDocumentHasBosEosAndItsBytes) {
  SourceText text = source(1, 0.1);
  const Tokenizer tokenizer = train(text);
  const Corpus corpus = std::move(text).encode(tokenizer);

  const HeldOutDocument document = corpus.held_out_document(0);

  EXPECT_EQ(document.tokens.front(), tokenizer.special().bos);
  EXPECT_EQ(document.tokens.back(), tokenizer.special().eos);
  const std::string inner = tokenizer.decode_without_special(document.tokens);
  EXPECT_EQ(inner, text_of(corpus, tokenizer, corpus.held_out()[0]));
  EXPECT_EQ(document.text_bytes, inner.size());
}

TEST_F(CorpusTest, TokenFileReadsLikeTheTextItWasMadeOf) {
  SourceText text = source(1, 0.1);
  const Tokenizer tokenizer = train(text);
  const Corpus from_text = std::move(text).encode(tokenizer);
  TokenFileWriter writer({.path = folder_ / "words.tokens",
                          .vocabulary_size = tokenizer.vocabulary_size(),
                          .tokenizer_fingerprint = tokenizer.fingerprint()});
  for (std::uint32_t i = 0; i < from_text.n_documents(); ++i) {
    std::vector<std::int32_t> tokens(from_text.document_tokens(i));
    from_text.read(i, 0, tokens);
    writer.add(tokens, text_of(from_text, tokenizer, i).size(), true);
  }
  writer.finish();

  const Corpus from_file = SourceText({.sources = {{.name = "",
                                                    .text = {},
                                                    .jsonl = {},
                                                    .tokens = {folder_ / "words.tokens"},
                                                    .holdout = 0.1,
                                                    .weight = 1}},
                                       .seed = 1})
                               .encode(tokenizer);

  EXPECT_EQ(from_file.held_out(), from_text.held_out());
  EXPECT_EQ(from_file.held_out_document(3).tokens, from_text.held_out_document(3).tokens);
  EXPECT_EQ(from_file.held_out_document(3).text_bytes, from_text.held_out_document(3).text_bytes);
}

TEST_F(CorpusTest, TokenFileOfAnotherTokenizerIsRefused) {
  SourceText text = source(1, 0.1);
  const Tokenizer tokenizer = train(text);
  const fs::path path = folder_ / "other.tokens";
  TokenFileWriter writer({.path = path, .vocabulary_size = 300, .tokenizer_fingerprint = 1});
  writer.finish();

  EXPECT_THAT([&] { source(1, 0.1, {path}).encode(tokenizer); },
              ThrowsMessage<DataError>(HasSubstr("other.tokens: made with another tokenizer")));
}

TEST_F(CorpusTest, SourcesDivideTheDocumentsAndHaveTheirOwnShareHeldOut) {
  const Tokenizer tokenizer = train(source(1, 0));

  const Corpus corpus = two_sources(0.5).encode(tokenizer);

  ASSERT_EQ(corpus.sources().size(), 2u);
  const auto &lines = corpus.sources()[0], &words = corpus.sources()[1];
  EXPECT_EQ(lines.name, "lines");
  EXPECT_EQ(words.weight, 3);
  EXPECT_NEAR(lines.training.size(), 101, 25);
  EXPECT_NEAR(words.training.size(), 900, 30);
  EXPECT_LT(lines.training.back(), 202u);
  EXPECT_GE(words.training.front(), 202u);
  EXPECT_EQ(lines.training.size() + words.training.size(), corpus.training().size());
}

TEST_F(CorpusTest, MessagesAndPromptsAreNoRunningText) {
  const Tokenizer tokenizer = train(source(1, 0));

  const Corpus corpus = two_sources(0).encode(tokenizer);

  EXPECT_TRUE(corpus.is_running_text(199));
  EXPECT_FALSE(corpus.is_running_text(200));
  EXPECT_FALSE(corpus.is_running_text(201));
  EXPECT_TRUE(corpus.is_running_text(202));
}

TEST_F(CorpusTest, SourceWithNothingToTrainOnIsNamed) {
  const Tokenizer tokenizer = train(source(1, 0));
  SourceText text = two_sources(0.999, 0);

  EXPECT_THAT([&] { std::move(text).encode(tokenizer); },
              ThrowsMessage<DataError>(HasSubstr("train on in source lines")));
}

TEST_F(CorpusTest, BadHoldoutAndEmptyTextAreRefused) {
  EXPECT_THROW(source(1, 1.0), DataError);
  EXPECT_THROW(source(1, -0.1), DataError);
  std::ofstream(folder_ / "words.dict") << "\n \n";
  EXPECT_THAT([&] { source(1, 0.1); }, ThrowsMessage<DataError>(HasSubstr("no text in it")));
}

TEST_F(CorpusTest, BytesThatAreNoTextAreReplaced) {
  std::ofstream(folder_ / "words.dict") << "caf\xE9\n\n   x\n";
  SourceText text = source(1, 0);
  const Tokenizer tokenizer = train(text);

  EXPECT_EQ(text_of(std::move(text).encode(tokenizer), tokenizer, 0), "caf\uFFFD\n\n   x\n");
}

}  // namespace
}  // namespace troupe::runtime
