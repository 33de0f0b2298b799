// The rules of the design that a reader of the files can check: who includes whom, what has a twin
// and a test, how long a file is, and which calls would break law 1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>

#include "tests/source_tree.h"

namespace troupe::tests {
namespace {

using testing::IsEmpty;

const std::vector<SourceFile>& sources() {
  static const auto files = source_files({"kernels", "config", "runtime", "actors", "deploy"});
  return files;
}
const std::vector<SourceFile>& test_sources() {
  static const auto files = source_files({"tests"});
  return files;
}

bool exists(const std::string& path) {
  return std::filesystem::exists(std::filesystem::path(TROUPE_SOURCE_DIR) / path);
}

/// "path:line: match" of every match in the code (not in comments or strings) of these files.
std::vector<std::string> matches(const std::vector<SourceFile>& files,
                                 const std::set<std::string>& folders, const std::string& pattern) {
  const std::regex wanted(pattern);
  std::vector<std::string> out;
  for (const SourceFile& file : files) {
    if (!folders.contains(file.folder()) || !file.is_cpp()) continue;
    const std::string code = code_of(file.text);
    for (std::sregex_iterator it(code.begin(), code.end(), wanted), end; it != end; ++it) {
      out.push_back(place(file, static_cast<size_t>(it->position())) + ": " + it->str());
    }
  }
  return out;
}

struct Include {
  std::string path;
  std::string place;
};
std::vector<Include> includes(const SourceFile& file) {
  static const std::regex line(R"re((?:^|\n)\s*(?:#\s*include|import)\s*["<]([^">]+)[">])re");
  std::vector<Include> out;
  for (std::sregex_iterator it(file.text.begin(), file.text.end(), line), end; it != end; ++it) {
    out.push_back({it->str(1), place(file, static_cast<size_t>(it->position(1)))});
  }
  return out;
}

TEST(Layering, IncludesPointDownwards) {
  const std::map<std::string, std::set<std::string>> may_include{
      {"kernels", {"kernels"}},
      {"config", {"config"}},
      {"runtime", {"runtime", "config", "kernels"}},
      {"actors", {"actors", "runtime", "config", "kernels"}},
      {"deploy", {"deploy", "actors", "runtime", "config", "kernels"}}};
  std::vector<std::string> wrong;
  for (const SourceFile& file : sources()) {
    for (const Include& include : includes(file)) {
      const std::string folder = include.path.substr(0, include.path.find('/'));
      const bool is_ours = may_include.contains(folder) || folder == "tests";
      if (is_ours && !may_include.at(file.folder()).contains(folder)) {
        wrong.push_back(include.place + " includes " + include.path);
      }
    }
  }

  EXPECT_THAT(wrong, IsEmpty()) << "deploy > actors > runtime > {config, kernels}";
}

bool is_caf(const std::string& path) { return path.rfind("caf/", 0) == 0; }
bool is_protobuf(const std::string& path) {
  return path.rfind("google/", 0) == 0 || path.find(".pb.") != std::string::npos;
}

// Numerics have the standard library and the compiler's intrinsics, no more.
TEST(Layering, KernelsIncludeNoThirdParty) {
  std::vector<std::string> wrong;
  for (const SourceFile& file : sources()) {
    if (file.folder() != "kernels") continue;
    for (const Include& include : includes(file)) {
      static const std::set<std::string> folders{"kernels", "sys"};
      const size_t slash = include.path.find('/');
      if (slash == std::string::npos || folders.contains(include.path.substr(0, slash))) continue;
      wrong.push_back(include.place + " includes " + include.path);
    }
  }

  EXPECT_THAT(wrong, IsEmpty());
}

// So that a run is planned and checked without a cluster.
TEST(Layering, ConfigKnowsNoActors) {
  std::vector<std::string> wrong;
  for (const SourceFile& file : sources()) {
    if (file.folder() != "config") continue;
    for (const Include& include : includes(file)) {
      if (is_caf(include.path)) wrong.push_back(include.place + " includes " + include.path);
    }
  }

  EXPECT_THAT(wrong, IsEmpty());
}

// nvcc never parses their headers, not even by way of one of ours.
TEST(Layering, CudaFilesReachNeitherCafNorProtobuf) {
  std::map<std::string, const SourceFile*> by_path;
  for (const SourceFile& file : sources()) by_path[file.path] = &file;
  std::vector<std::string> wrong;
  for (const SourceFile& start : sources()) {
    if (start.extension() != ".cu" && start.extension() != ".cuh") continue;
    std::set<std::string> seen{start.path};
    std::vector<const SourceFile*> open{&start};
    while (!open.empty()) {
      const SourceFile& file = *open.back();
      open.pop_back();
      for (const Include& include : includes(file)) {
        if (is_caf(include.path) || is_protobuf(include.path)) {
          wrong.push_back(start.path + " reaches " + include.path + " by " + include.place);
        }
        const auto ours = by_path.find(include.path);
        if (ours != by_path.end() && seen.insert(include.path).second) open.push_back(ours->second);
      }
    }
  }

  EXPECT_THAT(wrong, IsEmpty());
}

TEST(Layering, EveryHeaderIsGuardedAndIncludedFromTheRoot) {
  std::vector<std::string> wrong;
  for (const auto* files : {&sources(), &test_sources()}) {
    for (const SourceFile& file : *files) {
      if (file.extension() == ".h" && file.text.find("\n#pragma once") == std::string::npos &&
          file.text.rfind("#pragma once", 0) != 0) {
        wrong.push_back(file.path + " has no #pragma once");
      }
      for (const Include& include : includes(file)) {
        if (include.path.rfind("../", 0) == 0) wrong.push_back(include.place + " climbs");
      }
    }
  }

  EXPECT_THAT(wrong, IsEmpty());
}

std::vector<SourceFile> headers_in(const std::string& folder) {
  std::vector<SourceFile> out;
  for (const SourceFile& file : sources()) {
    if (file.path == folder + "/" + file.stem() + ".h") out.push_back(file);
  }
  return out;
}

TEST(Mirror, EachOperatorHasItsFileOnEveryDeviceAndItsTest) {
  std::set<std::string> tested_on_gpu;
  for (const SourceFile& file : test_sources()) {
    if (file.path.rfind("tests/kernels/cuda/", 0) != 0) continue;
    for (const Include& include : includes(file)) tested_on_gpu.insert(include.path);
  }
  std::vector<std::string> missing;
  const auto expect = [&](const std::string& path) {
    if (!exists(path)) missing.push_back(path);
  };
  for (const SourceFile& header : headers_in("kernels/ops")) {
    const std::string name = header.stem();
    expect("tests/kernels/ops/" + name + "_test.cpp");
    expect("kernels/cpu/" + name + ".cpp");
    const bool takes_a_queue = header.text.find("Queue& queue") != std::string::npos;
    if (!takes_a_queue) continue;
    expect("kernels/cuda/" + name + ".cu");
    if (!tested_on_gpu.contains(header.path)) missing.push_back("a test of " + name + " in tests/kernels/cuda");
  }

  EXPECT_THAT(missing, IsEmpty());
  EXPECT_GT(headers_in("kernels/ops").size(), 15u);
}

TEST(Mirror, WhatOperatorsStandOnAndEachLayerHasItsTest) {
  std::vector<std::string> missing;
  for (const SourceFile& file : sources()) {
    const std::filesystem::path path(file.path);
    const bool is_of_these = path.parent_path() == "kernels" || path.parent_path() == "kernels/math" ||
                             file.path.rfind("kernels/layers/", 0) == 0;
    if (!is_of_these || file.extension() != ".cpp") continue;
    const std::string test = "tests/" + (path.parent_path() / (file.stem() + "_test.cpp")).string();
    if (!exists(test)) missing.push_back(test);
  }

  EXPECT_THAT(missing, IsEmpty());
}

/// A test's subject: a file beside whose name the test's begins or ends, such as norm.h for
/// norm_backward_test.cpp or gemm.h for grouped_gemm_test.cpp.
bool has_subject(const SourceFile& test) {
  const std::filesystem::path relative(test.path.substr(std::string("tests/").size()));
  const std::string name = test.stem().substr(0, test.stem().size() - std::string("_test").size());
  for (const auto& folder : {relative.parent_path(), relative.parent_path() / "cpu"}) {
    const auto at = std::filesystem::path(TROUPE_SOURCE_DIR) / folder;
    if (!std::filesystem::is_directory(at)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(at)) {
      std::string stem = entry.path().stem().string();
      if (stem == "README") stem = "readme";
      if (name == stem || name.rfind(stem + "_", 0) == 0) return true;
      const std::string tail = "_" + stem;
      if (name.size() > tail.size() && name.substr(name.size() - tail.size()) == tail) return true;
    }
  }
  return false;
}

TEST(Mirror, TestsStandBesideTheirSubject) {
  const std::set<std::string> of_the_whole{"system", "bits", "faults", "bench"};
  std::vector<std::string> lost;
  for (const SourceFile& file : test_sources()) {
    const auto path = std::filesystem::path(file.path);
    if (file.path.find("_test.cpp") == std::string::npos) continue;
    if (of_the_whole.contains((++path.begin())->string())) continue;
    if (path.parent_path() == "tests") continue;  // rules on the files themselves
    if (!has_subject(file)) lost.push_back(file.path);
  }

  EXPECT_THAT(lost, IsEmpty());
}

/// Whether a CMakeLists.txt at or above the file names it: by its path from there, or, where the
/// list makes the path of a name (kernels' operators), by that name in its set(...).
bool is_built(const SourceFile& file, const std::vector<SourceFile>& lists) {
  for (const SourceFile& list : lists) {
    const std::string folder = std::filesystem::path(list.path).parent_path().string() + "/";
    if (list.extension() != ".txt" || file.path.rfind(folder, 0) != 0) continue;
    const std::string relative = file.path.substr(folder.size());
    if (std::regex_search(list.text, std::regex(R"((^|[\s(]))" + relative + R"(($|[\s)]))"))) {
      return true;
    }
    const std::regex operators(R"(set\(operators[^)]*\b)" + file.stem() + R"(\b[^)]*\))");
    const bool is_of_device = relative == "cpu/" + file.stem() + ".cpp" ||
                              relative == "cuda/" + file.stem() + ".cu";
    if (is_of_device && std::regex_search(list.text, operators)) return true;
  }
  return false;
}

// A file that no CMakeLists.txt names is never compiled, a test never run.
TEST(Mirror, EverySourceAndEveryTestIsBuilt) {
  std::vector<std::string> lost;
  for (const auto* files : {&sources(), &test_sources()}) {
    for (const SourceFile& file : *files) {
      const bool is_unit = file.extension() == ".cpp" || file.extension() == ".cu";
      if (is_unit && !is_built(file, *files)) lost.push_back(file.path);
    }
  }

  EXPECT_THAT(lost, IsEmpty());
}

TEST(Layout, OnlyEightEntriesStandAtTheTop) {
  const std::set<std::string> allowed{"CMakeLists.txt", "README.md", "actors", "kernels",
                                      "runtime",        "config",    "tests",  "deploy"};
  std::vector<std::string> others;
  for (const auto& entry : std::filesystem::directory_iterator(TROUPE_SOURCE_DIR)) {
    const std::string name = entry.path().filename().string();
    // What .gitignore lists: build folders and runs.
    const bool is_made = name.rfind("build", 0) == 0 || name == "runs";
    if (name[0] != '.' && !is_made && !allowed.contains(name)) others.push_back(name);
  }

  EXPECT_THAT(others, IsEmpty());
}

TEST(Layout, NoFileIsLongerThan400Lines) {
  std::vector<std::string> long_ones;
  for (const auto* files : {&sources(), &test_sources()}) {
    for (const SourceFile& file : *files) {
      const auto lines = std::count(file.text.begin(), file.text.end(), '\n');
      if (lines > 400) long_ones.push_back(file.path + ": " + std::to_string(lines));
    }
  }

  EXPECT_THAT(long_ones, IsEmpty());
}

// Law 1: the C library's functions depend on the machine; ours are in kernels/math/scalar_math.h and in
// kernels/cpu/simd/simd_common.inl (whose exp of 16 lanes is why a bare exp is let through).
TEST(Banned, TheCLibrarysFunctionsWhereNumbersOfTheRunAreMade) {
  const std::string names = "(exp|exp2|expm1|log|log2|log10|log1p|sin|cos|tan|sincos|sinh|cosh|"
                            "tanh|pow|cbrt|hypot|erf|erfc|lgamma|tgamma)";

  EXPECT_THAT(matches(sources(), {"kernels", "actors"},
                      R"((std::|__builtin_|(^|[^\w>])::))" + names + R"(f?\s*\()"),
              IsEmpty());
  EXPECT_THAT(matches(sources(), {"kernels", "actors"}, R"((^|[^\w:.>]))" + names + R"(f\s*\()"),
              IsEmpty());
  EXPECT_THAT(matches(sources(), {"kernels", "actors"},
                      R"((^|[^\w:.>])(log|sin|cos|tan|tanh|pow)\s*\()"),
              IsEmpty());
}

// Law 5, and law 2: random state and float atomics.
TEST(Banned, GeneratorsWithStateAndFloatAtomics) {
  EXPECT_THAT(matches(sources(), {"kernels", "config", "runtime", "actors", "deploy"},
                      R"(std::(\w+_distribution|random_device|mt19937\w*|minstd_rand\w*|)"
                      R"(default_random_engine|rand|srand)\b)"),
              IsEmpty());
  EXPECT_THAT(matches(sources(), {"kernels", "runtime", "actors"},
                      R"(atomic<\s*(float|double)\s*>|atomicAdd\s*\(\s*\(?\s*(float|double))"),
              IsEmpty());
}

TEST(Banned, CompilerFlagsThatLetNumbersChange) {
  std::vector<std::string> found;
  for (const auto* files : {&sources(), &test_sources()}) {
    for (const SourceFile& file : *files) {
      if (file.extension() != ".txt" && file.extension() != ".cmake") continue;
      for (const char* flag : {"-ffast-math", "-Ofast", "-funsafe-math", "-march=native",
                               "--use_fast_math", "-use_fast_math"}) {
        if (file.text.find(flag) != std::string::npos) found.push_back(file.path + ": " + flag);
      }
    }
  }

  EXPECT_THAT(found, IsEmpty());
}

// CAF 0.18 neither kills nor sees an actor that awaits.
TEST(Banned, Await) {
  EXPECT_THAT(matches(sources(), {"runtime", "actors", "deploy"}, R"(\.await\s*\()"), IsEmpty());
  EXPECT_THAT(matches(test_sources(), {"tests"}, R"(\.await\s*\()"), IsEmpty());
}

// Whole runs with processes that are killed may have to wait; unit tests may not.
TEST(Banned, SleepInUnitTests) {
  std::vector<std::string> found;
  for (const std::string& match :
       matches(test_sources(), {"tests"}, R"(\b(sleep_for|sleep_until|usleep|nanosleep)\s*\()")) {
    const bool is_whole_run =
        match.rfind("tests/system/", 0) == 0 || match.rfind("tests/faults/", 0) == 0;
    if (!is_whole_run) found.push_back(match);
  }

  EXPECT_THAT(found, IsEmpty());
}

// It would swallow what nobody expected. A queue carries every exception to whoever waits for it.
TEST(Banned, CatchAll) {
  std::vector<std::string> found;
  for (const std::string& match :
       matches(sources(), {"kernels", "config", "runtime", "actors", "deploy"},
               R"(\bcatch\s*\(\s*\.\.\.\s*\))")) {
    const bool may = match.rfind("kernels/queue.cpp:", 0) == 0 ||
                     match.rfind("deploy/main.cpp:", 0) == 0;
    if (!may) found.push_back(match);
  }

  EXPECT_THAT(found, IsEmpty());
}

// Errors are thrown, replied and supervised: nothing ends the process from below.
TEST(Banned, ExitAndAbortBelowDeploy) {
  EXPECT_THAT(matches(sources(), {"kernels", "config", "runtime", "actors"},
                      R"((^|[^\w.>])(std::)?(exit|_exit|_Exit|quick_exit|abort)\s*\()"),
              IsEmpty());
}

TEST(SourceTree, BlanksCommentsAndStringsAlone) {
  EXPECT_EQ(code_of("a(1'000); // b(\nc(\"d(\\\"\", 'e') /* f( */ g(R\"x(h\")x\");"),
            "a(1'000);      \nc(      ,    )          g(         );");
}

}  // namespace
}  // namespace troupe::tests
