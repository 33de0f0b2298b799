#include "runtime/data/tokenizer/byte_level.h"

#include <array>

#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

bool prints(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct SymbolTables {
  std::array<char32_t, 256> symbol{};
  std::array<int, 0x144> byte{};  // by code point; -1 where no symbol

  SymbolTables() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      symbol[b] = prints(b) ? static_cast<char32_t>(b) : next++;
      byte[symbol[b]] = b;
    }
  }
};

const SymbolTables& tables() {
  static const SymbolTables tables;
  return tables;
}

}  // namespace

char32_t byte_to_symbol(std::uint8_t byte) { return tables().symbol[byte]; }

std::string bytes_to_symbols(std::string_view bytes) {
  std::string symbols;
  for (const char c : bytes) append_utf8(symbols, byte_to_symbol(static_cast<std::uint8_t>(c)));
  return symbols;
}

std::optional<std::string> symbols_to_bytes(std::string_view symbols) {
  const auto& byte_of = tables().byte;
  std::string bytes;
  for (std::size_t position = 0; position < symbols.size();) {
    const Utf8Step step = decode_utf8(symbols, position);
    if (!step.valid || step.code_point >= byte_of.size() || byte_of[step.code_point] < 0) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(byte_of[step.code_point]));
    position += step.length;
  }
  return bytes;
}

}  // namespace troupe::runtime
