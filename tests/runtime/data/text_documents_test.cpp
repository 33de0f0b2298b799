#include "runtime/data/text_documents.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include <fstream>

#include "runtime/data/error.h"
#include "runtime/data/text_file.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

TEST(TextDocuments, EntryBeginsWithAnUnindentedLineBehindABlankOne) {
  const std::string text =
      "\n\nfoo\nfu\n\n   <jargon> A name.\n\n   See bar.\n\nbar\n\n   Another\nodd line\n   "
      "name.\n\n\n";

  EXPECT_THAT(split_entries(text), ElementsAre("foo\nfu\n\n   <jargon> A name.\n\n   See bar.\n",
                                               "bar\n\n   Another\nodd line\n   name.\n"));
}

TEST(TextDocuments, ParagraphsAreJoinedUntilTheyAreLongEnough) {
  const std::string text = "one\ntwo\n\n \nthree\n\nfour\n";

  EXPECT_THAT(split_paragraphs(text, 12, 100), ElementsAre("one\ntwo\n\n \nthree\n", "four\n"));
  EXPECT_THAT(split_paragraphs(text, 1, 100), ElementsAre("one\ntwo\n", "three\n", "four\n"));
}

TEST(TextDocuments, LongRunsAreCutAtLinesThenSpacesThenCharacters) {
  EXPECT_THAT(split_paragraphs("aaaa\nbbbb\ncc", 4, 10), ElementsAre("aaaa\nbbbb\n", "cc"));
  EXPECT_THAT(split_paragraphs("aaa bbb ccc", 4, 9), ElementsAre("aaa bbb ", "ccc"));
  EXPECT_THAT(split_paragraphs("日本語", 4, 4), ElementsAre("日", "本", "語"));
}

TEST(TextDocuments, NothingButBlankLinesIsLost) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += std::string(1 + i * 37 % 90, 'x') + (i % 7 ? "\n" : "\n\n");
  std::string joined, wanted;
  for (const auto part : split_paragraphs(text, 200, 500)) joined += part;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n') wanted += text[i];
  }
  std::erase(joined, '\n');

  EXPECT_EQ(joined, wanted);
}

TEST(TextDocuments, EmptyTextHasNoDocuments) {
  EXPECT_THAT(split_entries(""), IsEmpty());
  EXPECT_THAT(split_paragraphs(" \n\n", 1, 10), IsEmpty());
}

TEST(TextDocuments, DictionariesAreKnownByTheirName) {
  const std::string text = "a\n\n   x\n\nb\n\n   y\n";

  EXPECT_EQ(split_documents("foldoc.dict.dz", text).size(), 2u);
  EXPECT_EQ(split_documents("foldoc.txt", text).size(), 1u);
}

class TextFile : public testing::Test {
 protected:
  TextFile()
      : path_(std::filesystem::path(testing::TempDir()) /
              (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + ".gz")) {
  }
  ~TextFile() override { std::filesystem::remove(path_); }

  void write_gzip(const std::string& text) {
    gzFile file = gzopen(path_.c_str(), "wb");
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
  }

  std::filesystem::path path_;
};

TEST_F(TextFile, GzipAndPlainReadAlike) {
  const std::string text(3'000'000, 'x');

  write_gzip(text);
  EXPECT_EQ(read_text_file(path_), text);
  std::ofstream(path_) << text;
  EXPECT_EQ(read_text_file(path_), text);
}

TEST_F(TextFile, CutOffGzipIsAnError) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += std::to_string(i * 7919 % 100'003);
  write_gzip(text);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);

  EXPECT_THAT([&] { read_text_file(path_); },
              ThrowsMessage<DataError>(HasSubstr("cannot be read")));
}

TEST_F(TextFile, LargerThanAllowedIsAnError) {
  write_gzip(std::string(5'000'000, 'x'));

  EXPECT_THAT([&] { read_text_file(path_, 1'000'000); },
              ThrowsMessage<DataError>(HasSubstr("more than 1000000 bytes")));
}

TEST_F(TextFile, MissingFileAndFolderAreNamed) {
  EXPECT_THAT([] { read_text_file("/nowhere/a.txt"); },
              ThrowsMessage<DataError>(HasSubstr("/nowhere/a.txt: cannot be opened")));
  EXPECT_THAT([] { read_text_file("/"); }, ThrowsMessage<DataError>(HasSubstr("is a folder")));
}

}  // namespace
}  // namespace troupe::runtime
