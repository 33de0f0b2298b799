#include "runtime/data/tokenizer/rewriter.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "runtime/data/error.h"
#include "tests/runtime/data/line_corpus.h"

namespace troupe::runtime {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<std::int32_t>;

class RewriterTest : public testing::Test {
 protected:
  Rewriter rewriter(double fim_rate, double split_joined_rate, std::uint64_t seed = 1) const {
    return Rewriter({.corpus = *lines_.corpus,
                     .seed = seed,
                     .fim_rate = fim_rate,
                     .split_joined_rate = split_joined_rate});
  }

  static Ids read(const Rewriter& rewriter, std::uint32_t document, std::uint64_t pass) {
    Ids ids(rewriter.tokens(document, pass));
    rewriter.read(document, pass, 0, ids);
    return ids;
  }

  std::uint32_t n_documents() const { return lines_.corpus->n_documents(); }
  bool is_long_text(std::uint32_t document) const {
    return lines_.corpus->is_running_text(document) &&
           lines_.corpus->document_tokens(document) >= Rewriter::least_fim_tokens;
  }

  /// The document that `ids` were rearranged from; checks their form.
  Ids put_back(const Ids& ids) const {
    const SpecialTokens& special = lines_.corpus->special();
    const auto hole = std::find(ids.begin(), ids.end(), special.fim_hole);
    const auto end = std::find(hole, ids.end(), special.fim_end);
    EXPECT_EQ(ids.front(), special.fim_begin);
    EXPECT_NE(end, ids.end());
    Ids text(ids.begin() + 1, hole);
    EXPECT_FALSE(text.empty()) << "the prefix";
    EXPECT_GT(end - hole, 1) << "the suffix";
    EXPECT_GT(ids.end() - end, 1) << "the middle";
    text.insert(text.end(), end + 1, ids.end());
    text.insert(text.end(), hole + 1, end);
    return text;
  }

  /// The text of `ids` with every joined token taken apart: equal for all ways of splitting.
  Ids taken_apart(const Ids& ids) const {
    Ids result;
    for (const std::int32_t id : ids) {
      const auto parts = lines_.corpus->joined().parts(id);
      if (parts.empty()) {
        result.push_back(id);
      } else {
        result.insert(result.end(), parts.begin(), parts.end());
      }
    }
    return result;
  }

  LineCorpus lines_{{.n = 400,
                     .has_more = false,
                     .holdout = 0}};
};

TEST_F(RewriterTest, WithoutRatesEveryDocumentStays) {
  const Rewriter plain = rewriter(0, 0);

  EXPECT_TRUE(plain.is_constant());
  for (std::uint32_t i = 0; i < n_documents(); ++i) {
    EXPECT_EQ(read(plain, i, 3), lines_.document(i));
  }
}

TEST_F(RewriterTest, RearrangedDocumentHasItsTokensAndThreeMarks) {
  const Rewriter all = rewriter(1, 0);

  for (std::uint32_t i = 0; i < n_documents(); ++i) {
    const Ids ids = read(all, i, 0);
    if (!is_long_text(i)) {
      EXPECT_EQ(ids, lines_.document(i)) << "short, or no running text";
    } else {
      EXPECT_EQ(put_back(ids), lines_.document(i));
    }
  }
  EXPECT_FALSE(is_long_text(n_documents() - 1)) << "a prompt";
  EXPECT_FALSE(is_long_text(n_documents() - 2)) << "messages";
}

TEST_F(RewriterTest, ShareOfRearrangedDocumentsIsTheRate) {
  const Rewriter some = rewriter(0.1, 0);
  int n = 0, found = 0;

  for (std::uint64_t pass = 0; pass < 20; ++pass) {
    for (std::uint32_t i = 0; i < n_documents(); ++i) {
      if (!is_long_text(i)) continue;
      ++n;
      found += some.tokens(i, pass) != lines_.corpus->document_tokens(i);
    }
  }

  EXPECT_GT(n, 4000);
  EXPECT_NEAR(found, 0.1 * n, 4 * std::sqrt(0.1 * 0.9 * n)) << "four standard deviations";
}

TEST_F(RewriterTest, CutsAreSpreadOverTheDocument) {
  const Rewriter all = rewriter(1, 0);
  std::uint32_t longest = 0;
  for (std::uint32_t i = 0; i < n_documents(); ++i) {
    const auto tokens = [&](std::uint32_t d) { return lines_.corpus->document_tokens(d); };
    if (is_long_text(i) && tokens(i) > tokens(longest)) longest = i;
  }
  const auto n = static_cast<std::int64_t>(lines_.corpus->document_tokens(longest));
  std::set<std::int64_t> prefixes, middles;
  double middle_tokens = 0;

  for (std::uint64_t pass = 0; pass < 2000; ++pass) {
    const Ids ids = read(all, longest, pass);
    const auto hole = std::find(ids.begin(), ids.end(), lines_.corpus->special().fim_hole);
    const auto end = std::find(ids.begin(), ids.end(), lines_.corpus->special().fim_end);
    prefixes.insert(hole - ids.begin() - 1);
    middles.insert(ids.end() - end - 1);
    middle_tokens += static_cast<double>(ids.end() - end - 1);
  }

  EXPECT_EQ(*prefixes.begin(), 1);
  EXPECT_GE(*prefixes.rbegin(), n * 9 / 10);
  EXPECT_LE(*prefixes.rbegin(), n - 2);
  EXPECT_GE(*middles.rbegin(), n * 9 / 10);
  // Of three parts that two places of n - 1 make, each has n / 3 tokens on average.
  EXPECT_NEAR(middle_tokens / 2000, static_cast<double>(n) / 3, 0.03 * static_cast<double>(n));
}

TEST_F(RewriterTest, ShareOfSplitTokensIsTheRateAndTheTextStays) {
  const Rewriter some = rewriter(0, 0.3);
  std::uint64_t joined = 0, split = 0;

  for (std::uint32_t i = 0; i < n_documents(); ++i) {
    const Ids before = lines_.document(i), after = read(some, i, 1);
    EXPECT_EQ(taken_apart(after), taken_apart(before));
    joined += taken_apart(before).size() - before.size();
    split += after.size() - before.size();
  }

  const auto n = static_cast<double>(joined);
  EXPECT_GT(joined, 1000u);
  EXPECT_NEAR(static_cast<double>(split), 0.3 * n, 4 * std::sqrt(0.3 * 0.7 * n));
}

TEST_F(RewriterTest, RateOfOneSplitsEveryJoinedToken) {
  const Rewriter all = rewriter(0, 1);

  for (std::uint32_t i = 0; i < n_documents(); ++i) {
    EXPECT_EQ(read(all, i, 0), taken_apart(lines_.document(i)));
  }
}

TEST_F(RewriterTest, BothTogetherKeepTheText) {
  const Rewriter both = rewriter(1, 0.5);

  for (std::uint32_t i = 0; i < n_documents(); ++i) {
    Ids ids = read(both, i, 2);
    if (is_long_text(i)) ids = put_back(ids);
    EXPECT_EQ(taken_apart(ids), taken_apart(lines_.document(i)));
  }
}

TEST_F(RewriterTest, PassesAndSeedsDrawAnew) {
  for (const auto& [fim_rate, split_joined_rate] : {std::pair(0.5, 0.0), std::pair(0.0, 0.5)}) {
    const Rewriter one = rewriter(fim_rate, split_joined_rate);
    const Rewriter same = rewriter(fim_rate, split_joined_rate);
    const Rewriter other = rewriter(fim_rate, split_joined_rate, 2);
    int passes_differ = 0, lengths_differ = 0, seeds_differ = 0;

    for (std::uint32_t i = 0; i < n_documents(); ++i) {
      EXPECT_EQ(read(one, i, 4), read(same, i, 4));
      passes_differ += read(one, i, 4) != read(one, i, 5);
      lengths_differ += one.tokens(i, 4) != one.tokens(i, 5);
      seeds_differ += read(one, i, 4) != read(other, i, 4);
    }
    EXPECT_GT(passes_differ, 150) << fim_rate;
    EXPECT_GT(lengths_differ, 100) << fim_rate;
    EXPECT_GT(seeds_differ, 150) << fim_rate;
  }
}

TEST_F(RewriterTest, PartsReadLikeTheWhole) {
  const Rewriter both = rewriter(1, 0.5);
  const Ids whole = read(both, 8, 1);
  ASSERT_GT(whole.size(), 30u);

  Ids part(7);
  both.read(8, 1, 11, part);

  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 11));
  EXPECT_THROW(both.read(8, 1, whole.size() - 6, part), DataError);
}

TEST_F(RewriterTest, WrongRatesAndVocabulariesAreRefused) {
  EXPECT_THAT([&] { rewriter(1.5, 0); }, ThrowsMessage<DataError>(HasSubstr("fim_rate is 1.5")));
  EXPECT_THAT([&] { rewriter(0, std::nan("")); },
              ThrowsMessage<DataError>(HasSubstr("split_joined_rate is")));
}

}  // namespace
}  // namespace troupe::runtime
