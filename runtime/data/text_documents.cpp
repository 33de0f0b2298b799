#include "runtime/data/text_documents.h"

#include <algorithm>
#include <cstdint>

#include "runtime/data/error.h"
#include "runtime/data/text_file.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

/// The line that begins at `begin`, its line end included.
std::string_view line_at(std::string_view text, std::size_t begin) {
  const std::size_t end = text.find('\n', begin);
  return text.substr(begin, end == std::string_view::npos ? end : end + 1 - begin);
}

/// text[begin, end) without blank lines at both ends; nothing is added where nothing is left.
void add_trimmed(std::string_view text, std::vector<std::string_view>& documents) {
  while (!text.empty() && is_blank(line_at(text, 0))) text.remove_prefix(line_at(text, 0).size());
  const std::size_t last = text.find_last_not_of(" \t\r\n\f\v");
  if (last == std::string_view::npos) return;
  const std::size_t line_end = text.find('\n', last);
  documents.push_back(text.substr(0, line_end == std::string_view::npos ? line_end : line_end + 1));
}

/// Where to cut `text`, which is longer than `most`.
std::size_t place_to_cut(std::string_view text, std::size_t most) {
  for (const char separator : {'\n', ' '}) {
    const std::size_t found = text.substr(0, most).rfind(separator);
    if (found != std::string_view::npos && found > 0) return found + 1;
  }
  std::size_t cut = most;
  const auto continues = [&](std::size_t i) {
    return (static_cast<std::uint8_t>(text[i]) & 0xC0) == 0x80;
  };
  while (cut > 1 && continues(cut)) --cut;
  return cut;
}

}  // namespace

std::vector<std::string_view> split_entries(std::string_view text) {
  std::vector<std::string_view> documents;
  std::size_t entry = 0;
  bool after_blank = true;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::string_view line = line_at(text, begin);
    const bool blank = is_blank(line);
    const bool indented = line[0] == ' ' || line[0] == '\t';
    if (after_blank && !blank && !indented) {
      add_trimmed(text.substr(entry, begin - entry), documents);
      entry = begin;
    }
    after_blank = blank;
    begin += line.size();
  }
  add_trimmed(text.substr(entry), documents);
  return documents;
}

std::vector<std::string_view> split_paragraphs(std::string_view text, std::size_t least_bytes,
                                               std::size_t most_bytes) {
  std::vector<std::string_view> documents;
  std::size_t document = 0;  // where it begins
  const auto end_document = [&](std::size_t end) {
    while (end - document > most_bytes) {
      const std::size_t length = place_to_cut(text.substr(document, end - document), most_bytes);
      add_trimmed(text.substr(document, length), documents);
      document += length;
    }
    add_trimmed(text.substr(document, end - document), documents);
    document = end;
  };
  bool after_blank = true;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::string_view line = line_at(text, begin);
    const bool blank = is_blank(line);
    if (after_blank && !blank && begin - document >= least_bytes) end_document(begin);
    after_blank = blank;
    begin += line.size();
  }
  end_document(text.size());
  return documents;
}

std::vector<std::string_view> split_documents(std::string_view file_name, std::string_view text) {
  for (const std::string_view ending : {".dict", ".dict.dz", ".dict.gz"}) {
    if (file_name.ends_with(ending)) return split_entries(text);
  }
  return split_paragraphs(text, 2 << 10, 16 << 10);
}

std::vector<Document> read_text_documents(const std::filesystem::path& path) {
  std::string text = read_text_file(path);
  if (find_invalid_utf8(text) != std::string::npos) text = to_valid_utf8(text);
  std::vector<Document> documents;
  for (const std::string_view part : split_documents(path.filename().string(), text)) {
    documents.push_back({{{Role::text, std::string(part)}}});
  }
  if (documents.empty()) throw DataError(path.string() + ": there is no text in it");
  return documents;
}

}  // namespace troupe::runtime
