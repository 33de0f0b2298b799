#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/document.h"

namespace troupe::runtime {

/// The entries of a dictionary in dictd's text form: an entry begins with an unindented line behind
/// a blank line (its headwords), and its body is indented. Entries keep their text; blank lines
/// around them are dropped.
std::vector<std::string_view> split_entries(std::string_view text);

/// Paragraphs (what stands between blank lines), joined to documents of at least `least_bytes`
/// where the text goes on. A longer run than `most_bytes` without a blank line is cut at the end of
/// a line, else behind a space, else between two characters. Nothing but blank lines around
/// documents is dropped.
std::vector<std::string_view> split_paragraphs(std::string_view text, std::size_t least_bytes,
                                               std::size_t most_bytes);

/// Cuts the text of a file into documents: entries where its name ends in .dict, .dict.dz or
/// .dict.gz, otherwise paragraphs of 2 to 16 KiB.
std::vector<std::string_view> split_documents(std::string_view file_name, std::string_view text);

/// The documents of a text file, plain or gzip. Parts that are not UTF-8 become U+FFFD. Throws
/// DataError if it cannot be read or holds no text.
std::vector<Document> read_text_documents(const std::filesystem::path& path);

}  // namespace troupe::runtime
