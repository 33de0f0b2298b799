#include "runtime/data/document_stream.h"

#include <gmock/gmock.h>

#include <map>

#include "runtime/data/error.h"
#include "tests/runtime/data/line_corpus.h"

namespace troupe::runtime {
namespace {

using Ids = std::vector<std::int32_t>;

/// Half of the documents rearranged, half of the joined tokens split: passes differ in length.
class DocumentStreamTest : public testing::Test {
 protected:
  DocumentStream stream() const {
    return DocumentStream({.corpus = *lines_.corpus,
                           .rewriter = rewriter_,
                           .documents = lines_.corpus->training(),
                           .seed = 1});
  }

  static Ids read(DocumentStream& stream, std::uint64_t begin, std::uint64_t count) {
    Ids ids(count);
    stream.read(begin, ids);
    return ids;
  }

  LineCorpus lines_{{.n = 40,
                     .has_more = false,
                     .holdout = 0.2}};
  Rewriter rewriter_{
      {.corpus = *lines_.corpus, .seed = 1, .fim_rate = 0.5, .split_joined_rate = 0.5}};
};

TEST_F(DocumentStreamTest, EachPassHoldsEachTrainingDocumentAsThePassWritesIt) {
  DocumentStream whole = stream();
  std::uint64_t begin = 0;

  for (std::uint64_t pass = 0; pass < 5; ++pass) {
    std::map<Ids, int> wanted, found;
    for (const std::uint32_t i : lines_.corpus->training()) {
      Ids ids(rewriter_.tokens(i, pass) + 2);
      ids.front() = lines_.corpus->special().bos;
      ids.back() = lines_.corpus->special().eos;
      rewriter_.read(i, pass, 0, std::span(ids).subspan(1, ids.size() - 2));
      ++wanted[ids];
    }
    Ids document;
    for (const std::int32_t id : read(whole, begin, whole.tokens_of_pass(pass))) {
      document.push_back(id);
      if (id != lines_.corpus->special().eos) continue;
      ++found[document];
      document.clear();
    }
    EXPECT_EQ(found, wanted) << "pass " << pass;
    EXPECT_TRUE(document.empty());
    begin += whole.tokens_of_pass(pass);
  }
}

TEST_F(DocumentStreamTest, PassesDifferInLength) {
  DocumentStream whole = stream();

  EXPECT_NE(whole.tokens_of_pass(0), whole.tokens_of_pass(1));
}

// Law 5: a place in a late pass needs no reading of what comes before it.
TEST_F(DocumentStreamTest, AnyPlaceCanBeReadFirst) {
  DocumentStream straight = stream();
  const Ids wanted = read(straight, 0, 12 * straight.tokens_of_pass(0));

  for (std::uint64_t begin = wanted.size() - 40; begin > 5000; begin -= 1777) {
    DocumentStream fresh = stream();
    const Ids found = read(fresh, begin, 40);
    EXPECT_TRUE(
        std::equal(found.begin(), found.end(), wanted.begin() + static_cast<std::ptrdiff_t>(begin)))
        << begin;
  }
}

TEST_F(DocumentStreamTest, PlacesBeyondAMillionPassesAreRefused) {
  DocumentStream whole = stream();

  EXPECT_THROW(read(whole, std::uint64_t{1} << 60, 1), DataError);
}

}  // namespace
}  // namespace troupe::runtime
