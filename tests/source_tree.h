// The source files of the project as text, for tests that hold rules on them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace troupe::tests {

struct SourceFile {
  std::string path;  ///< from the root: "kernels/cpu/gemm.cpp"
  std::string text;

  std::string folder() const { return path.substr(0, path.find('/')); }
  std::string extension() const { return std::filesystem::path(path).extension().string(); }
  /// Whether C++'s rules on comments and strings hold.
  bool is_cpp() const {
    return std::set<std::string>{".h", ".cpp", ".inl", ".cu", ".cuh"}.contains(extension());
  }
  std::string stem() const { return std::filesystem::path(path).stem().string(); }
};

/// C++ and CUDA sources, headers, Protobuf and CMake files of these folders, sorted by path, and
/// the scripts (Python, shell, and what begins with #! and has no extension).
inline std::vector<SourceFile> source_files(const std::vector<std::string>& folders) {
  const std::set<std::string> wanted{".h",     ".cpp", ".inl", ".cu", ".cuh", ".proto",
                                     ".cmake", ".txt", ".py",  ".sh", ""};
  std::vector<SourceFile> out;
  for (const std::string& folder : folders) {
    const auto root = std::filesystem::path(TROUPE_SOURCE_DIR) / folder;
    if (!std::filesystem::exists(root)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      const auto path = entry.path();
      const bool is_goldens = path.string().find("/goldens/") != std::string::npos;
      if (!entry.is_regular_file() || is_goldens || !wanted.contains(path.extension().string())) {
        continue;
      }
      if (path.extension() == ".txt" && path.filename() != "CMakeLists.txt") continue;
      std::ostringstream text;
      text << std::ifstream(path).rdbuf();
      if (path.extension().empty() && text.str().rfind("#!", 0) != 0) continue;
      out.push_back({std::filesystem::relative(path, TROUPE_SOURCE_DIR).string(), text.str()});
    }
  }
  std::sort(out.begin(), out.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return out;
}

/// `text` with comments, characters and strings blanked; line ends stay.
inline std::string code_of(const std::string& text) {
  std::string out;
  const auto blank_until = [&](size_t begin, size_t end) {
    for (size_t i = begin; i < std::min(end, text.size()); ++i) {
      out += text[i] == '\n' ? '\n' : ' ';
    }
    return std::min(end, text.size());
  };
  const auto after = [&](const std::string& mark, size_t from) {
    const size_t at = text.find(mark, from);
    return at == std::string::npos ? text.size() : at + mark.size();
  };
  size_t i = 0;
  while (i < text.size()) {
    const std::string two = text.substr(i, 2);
    const bool in_number = i > 0 && std::isalnum(static_cast<unsigned char>(text[i - 1]));
    if (two == "//") {
      i = blank_until(i, std::min(text.find('\n', i), text.size()));
    } else if (two == "/*") {
      i = blank_until(i, after("*/", i + 2));
    } else if (two == "R\"") {
      const size_t open = std::min(text.find('(', i), text.size());
      i = blank_until(i, after(")" + text.substr(i + 2, open - i - 2) + "\"", open));
    } else if (text[i] == '"' || (text[i] == '\'' && !in_number)) {
      size_t end = i + 1;
      while (end < text.size() && text[end] != text[i] && text[end] != '\n') {
        end += text[end] == '\\' ? 2 : 1;
      }
      i = blank_until(i, end + 1);
    } else {
      out += text[i++];
    }
  }
  return out;
}

/// "path:12" for the line of offset `at`.
inline std::string place(const SourceFile& file, size_t at) {
  const auto line = std::count(file.text.begin(), file.text.begin() + static_cast<long>(at), '\n');
  return file.path + ":" + std::to_string(line + 1);
}

}  // namespace troupe::tests
