#include "runtime/data/token_file.h"

#include <gmock/gmock.h>
#include <xxhash.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "kernels/random.h"
#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class TokenFileTest : public testing::Test {
 protected:
  TokenFileTest()
      : path_(std::filesystem::path(testing::TempDir()) /
              (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) +
               ".tokens")) {}
  ~TokenFileTest() override { std::filesystem::remove(path_); }

  void write(std::int32_t vocabulary_size) {
    TokenFileWriter writer(
        {.path = path_, .vocabulary_size = vocabulary_size, .tokenizer_fingerprint = 77});
    writer.add(std::vector<std::int32_t>{5, 6, 7}, 11, true);
    writer.add({}, 0, true);
    writer.add(std::vector<std::int32_t>{vocabulary_size - 1, 0}, 4, false);
    writer.finish();
  }

  std::string bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void overwrite(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }

  static std::vector<std::int32_t> document(const TokenFile& file, std::uint64_t number) {
    std::vector<std::int32_t> tokens(file.document_tokens(number));
    file.read(number, 0, tokens);
    return tokens;
  }

  std::filesystem::path path_;
};

TEST_F(TokenFileTest, ReadsBackWhatWasWritten) {
  for (const std::int32_t vocabulary_size : {1024, 65536, 129280}) {
    write(vocabulary_size);

    const TokenFile file(path_);
    file.verify();

    EXPECT_EQ(file.n_documents(), 3u);
    EXPECT_EQ(file.n_tokens(), 5u);
    EXPECT_EQ(file.tokenizer_fingerprint(), 77u);
    EXPECT_EQ(file.vocabulary_size(), vocabulary_size);
    EXPECT_THAT(document(file, 0), ElementsAre(5, 6, 7));
    EXPECT_THAT(document(file, 1), ElementsAre());
    EXPECT_THAT(document(file, 2), ElementsAre(vocabulary_size - 1, 0));
    EXPECT_EQ(file.document_text_bytes(0), 11u);
    EXPECT_EQ(file.document_text_bytes(2), 4u);
    EXPECT_TRUE(file.is_running_text(0));
    EXPECT_FALSE(file.is_running_text(2));
    // 64 bytes of header, 5 tokens rounded up to 8 bytes, 3 rows.
    EXPECT_EQ(file.file_bytes(), 64u + (vocabulary_size <= 65536 ? 16 : 24) + 3 * 16);
  }
}

TEST_F(TokenFileTest, ReadingBeyondADocumentIsAnError) {
  write(1024);
  const TokenFile file(path_);
  std::vector<std::int32_t> tokens(2);

  file.read(0, 1, tokens);
  EXPECT_THAT(tokens, ElementsAre(6, 7));
  EXPECT_THROW(file.read(0, 2, tokens), DataError);
  EXPECT_THROW(file.read(0, ~std::uint64_t{0}, tokens), DataError);
  EXPECT_THROW(file.read(3, 0, tokens), DataError);
}

TEST_F(TokenFileTest, VersionOneIsReadAndNewerOnesAreRefused) {
  write(1024);
  const std::string whole = bytes();
  const auto of_version = [&](char version) {
    std::string changed = whole;
    changed[8] = version;
    const std::uint64_t hash = XXH3_64bits(changed.data(), 56);
    std::memcpy(changed.data() + 56, &hash, sizeof hash);
    return changed;
  };

  overwrite(of_version(1));
  EXPECT_EQ(TokenFile(path_).document_tokens(0), 3u);

  for (const char version : {0, 3}) {
    overwrite(of_version(version));
    EXPECT_THAT([&] { TokenFile file(path_); },
                ThrowsMessage<DataError>(HasSubstr("; 1 and 2 are read")));
  }
}

TEST_F(TokenFileTest, WriterRefusesIdsOutsideTheVocabulary) {
  TokenFileWriter writer({.path = path_, .vocabulary_size = 10, .tokenizer_fingerprint = 0});

  EXPECT_THAT(
      [&] {
        writer.add(std::vector<std::int32_t>{3, 10}, 1, true);
      },
      ThrowsMessage<DataError>(HasSubstr("holds the id 10; ids are below 10")));
  EXPECT_THROW(writer.add(std::vector<std::int32_t>{-1}, 1, true), DataError);
}

TEST_F(TokenFileTest, UnfinishedFileLeavesNothingBehind) {
  {
    TokenFileWriter writer({.path = path_, .vocabulary_size = 10, .tokenizer_fingerprint = 0});
    writer.add(std::vector<std::int32_t>{1}, 1, true);
  }

  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".partial"));
}

TEST_F(TokenFileTest, EveryFlippedBitAndEveryLengthIsNoticed) {
  write(1024);
  const std::string whole = bytes();

  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    overwrite(damaged);
    EXPECT_THROW(TokenFile(path_).verify(), DataError) << "byte " << i;
    overwrite(whole.substr(0, i));
    EXPECT_THROW(TokenFile(path_).verify(), DataError) << "length " << i;
  }
  overwrite(whole + "x");
  EXPECT_THROW(TokenFile(path_).verify(), DataError);
}

TEST_F(TokenFileTest, DamagedContentNeverReadsOutsideTheFile) {
  write(1024);
  const std::string whole = bytes();
  for (std::uint32_t i = 0; i < 300; ++i) {
    std::string damaged = whole;
    for (std::uint64_t k = 0; k < 4; ++k) {
      const auto draw = kernels::random_bits({3, kernels::Purpose::test, i, k});
      damaged[64 + draw % (damaged.size() - 64)] = static_cast<char>(draw >> 40);
    }
    overwrite(damaged);
    try {
      const TokenFile file(path_);  // not verified: only the table is checked
      for (std::uint64_t d = 0; d < file.n_documents(); ++d) document(file, d);
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(path_.string()));
    }
  }
}

}  // namespace
}  // namespace troupe::runtime
