// A corpus of made-up documents with many marks at line ends, one source or two.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "kernels/random.h"
#include "runtime/data/corpus.h"
#include "tests/own_folder.h"

namespace troupe::runtime {

/// Text of `words` words of three letters at most, some with a full stop or a line end behind them.
inline std::string random_text(std::uint32_t stream, int words) {
  std::string text;
  for (int i = 0; i < words; ++i) {
    const std::uint64_t bits = kernels::random_bits({.seed = 5,
                                                     .purpose = kernels::Purpose::test,
                                                     .stream = stream,
                                                     .position = static_cast<std::uint64_t>(i)});
    text += std::string(1 + bits % 3, static_cast<char>('a' + (bits >> 8) % 20));
    constexpr const char* behind[] = {" ", " ", ".\\n", "!\\n\\n", ", ", "\\n"};
    text += behind[(bits >> 16) % 6];
  }
  return text;
}

/// Source "lines" holds `n` texts of 0 to 60 words, then one conversation and one prompt; source
/// "more", if wanted, 30 texts. The tokenizer has learned merges, ".\n" among them.
struct LineCorpus {
  struct Args {
    int n;
    bool has_more;
    double holdout;
  };

  explicit LineCorpus(const Args& args) {
    namespace fs = std::filesystem;
    const std::string own = tests::own_folder().string();
    const fs::path lines = own + "_lines.jsonl", more = own + "_more.jsonl";
    std::ofstream file(lines);
    const auto write = [&](std::ofstream& out, std::uint32_t i) {
      out << R"({"text": ")" << random_text(i, static_cast<int>(i * 7 % 61)) << "\"}\n";
    };
    for (int i = 0; i < args.n; ++i) write(file, static_cast<std::uint32_t>(i));
    const std::string long_text = random_text(999, 60);
    file << R"({"messages": [{"role": "user", "content": ")" << long_text << "\"}]}\n"
         << R"({"prompt": ")" << long_text << R"(", "completion": ")" << long_text << "\"}\n";
    file.close();
    SourceText::Args sources{.sources = {{.name = "lines",
                                          .text = {},
                                          .jsonl = {lines},
                                          .tokens = {},
                                          .holdout = args.holdout,
                                          .weight = 7}},
                             .seed = 1};
    std::ofstream other(more);
    for (std::uint32_t i = 0; i < 30; ++i) write(other, 1000 + i);
    other.close();
    if (args.has_more) {
      sources.sources.push_back({.name = "more",
                                 .text = {},
                                 .jsonl = {more},
                                 .tokens = {},
                                 .holdout = args.holdout,
                                 .weight = 3});
    }
    SourceText text(sources);
    tokenizer = std::make_unique<Tokenizer>(
        Tokenizer::from_json(write_tokenizer_json(text.train_tokenizer(320)), "trained"));
    corpus = std::make_unique<Corpus>(std::move(text).encode(*tokenizer));
    fs::remove(lines);
    fs::remove(more);
  }

  std::vector<std::int32_t> document(std::uint32_t number) const {
    std::vector<std::int32_t> ids(corpus->document_tokens(number));
    corpus->read(number, 0, ids);
    return ids;
  }

  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Corpus> corpus;
};

}  // namespace troupe::runtime
