#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::runtime {

/// Byte-level vocabularies write every byte as one printable character: bytes that print in Latin-1
/// stand for themselves, the other 68 become U+0100 and up, in byte order.
/// Source: `bytes_to_unicode` of GPT-2's encoder.py.
char32_t byte_to_symbol(std::uint8_t byte);

/// The UTF-8 text of the symbols of `bytes`.
std::string bytes_to_symbols(std::string_view bytes);

/// The bytes that `symbols` stand for, or nothing if some character is not such a symbol.
std::optional<std::string> symbols_to_bytes(std::string_view symbols);

}  // namespace troupe::runtime
