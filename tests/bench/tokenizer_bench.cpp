// Times Troupe's tokenizer for compare_tokenizers; tokenizer_peer.py is its counterpart.
//
//   tokenizer_bench encode TEXT TOKENIZER     TOKENIZER: a tokenizer.json
//   tokenizer_bench train TEXT VOCAB_SIZE
//
// For each line on standard input one round is run, and one line of JSON written: the seconds, and
// what tells whether both sides did the same.
#include <zlib.h>

#include <chrono>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/text_file.h"
#include "runtime/data/tokenizer/bpe_trainer.h"
#include "runtime/data/tokenizer/tokenizer.h"
#include "runtime/data/tokenizer/tokenizer_json.h"
#include "runtime/data/tokenizer/utf8.h"

namespace {

using namespace troupe::runtime;

constexpr std::size_t piece_bytes = 16 << 10;

/// Pieces of at least piece_bytes that end behind a line end, as tokenizer_peer.py cuts them.
std::vector<std::string_view> cut(std::string_view text) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    const std::size_t end = text.find('\n', std::min(piece_bytes, text.size()) - 1);
    const std::size_t size = end == std::string_view::npos ? text.size() : end + 1;
    pieces.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return pieces;
}

unsigned long crc(unsigned long sum, const void* bytes, std::size_t size) {
  return crc32_z(sum, static_cast<const unsigned char*>(bytes), size);
}

template <class Round>
void run_rounds(Round round) {
  for (std::string line; std::getline(std::cin, line);) round();
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void encode(const std::vector<std::string_view>& pieces, const char* tokenizer_file) {
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_file);
  run_rounds([&] {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::vector<std::int32_t>> ids;
    ids.reserve(pieces.size());
    for (const std::string_view piece : pieces) ids.push_back(tokenizer.encode(piece, false));
    const double seconds = seconds_since(begin);
    std::size_t tokens = 0;
    unsigned long sum = 0;
    for (const auto& piece : ids) {
      tokens += piece.size();
      sum = crc(sum, piece.data(), piece.size() * sizeof(std::int32_t));
    }
    std::cout << R"({"seconds": )" << seconds << R"(, "tokens": )" << tokens << R"(, "crc": )"
              << sum << "}" << std::endl;
  });
}

void train(const std::vector<std::string_view>& pieces, std::int32_t vocabulary_size) {
  run_rounds([&] {
    const auto begin = std::chrono::steady_clock::now();
    BpeTrainer trainer;
    for (const std::string_view piece : pieces) trainer.add(piece);
    const double counted = seconds_since(begin);
    const TrainedTokenizer trained = trainer.train(vocabulary_size);
    const double seconds = seconds_since(begin);
    unsigned long sum = 0;
    for (const auto& [left, right] : trained.merges) {
      const std::string merge = left + right + "\n";
      sum = crc(sum, merge.data(), merge.size());
    }
    std::cout << R"({"seconds": )" << seconds << R"(, "counting_seconds": )" << counted
              << R"(, "tokens": )" << trained.special_tokens.size() + trained.tokens.size()
              << R"(, "crc": )" << sum << "}" << std::endl;
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc == 4 ? argv[1] : "";
  if (what != "encode" && what != "train") {
    std::cerr << "tokenizer_bench encode TEXT TOKENIZER | train TEXT VOCAB_SIZE\n";
    return 2;
  }
  try {
    const std::string text = to_valid_utf8(read_text_file(argv[2]));
    if (what == "encode") {
      encode(cut(text), argv[3]);
    } else {
      train(cut(text), std::stoi(argv[3]));
    }
  } catch (const std::exception& error) {
    std::cerr << "tokenizer_bench: " << error.what() << "\n";
    return 1;
  }
}
