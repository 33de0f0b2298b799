// Laws 1 and 2 in whole runs: 8 steps of tiny end with one hash, however they are spread. Every two of
// the choices meet in one run at least; with TROUPE_BITS_TABLE=all every legal combination is run, with
// TROUPE_BITS_TABLE=3/50 the third of fifty parts of them, which lie among each other.
#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "config/schedule/schedule.h"
#include "runtime/data_plane/data_plane.h"
#include "tests/bits/pairwise.h"
#include "tests/program.h"

namespace troupe::tests {
namespace {

struct Dimension {
  const char* name;
  std::vector<std::string> values;
};

const std::vector<Dimension>& dimensions() {
  static const std::vector<Dimension> all{
      {"processes", {"1", "2", "3", "4", "8"}}, {"pipeline", {"1", "2", "4"}},
      {"expert", {"1", "2", "4"}},              {"data", {"1", "2", "3", "4"}},
      {"attention", {"1", "2"}},                {"transport", {"posix,cma", "tcp", "tcp,cma"}},
      {"schedule", {"ONE_F_ONE_B", "ZERO_BUBBLE", "DUALPIPE", "DUALPIPE_V"}},
      {"ucx", {"built", "1.22.0"}},             {"expert_replicas", {"1", "2"}},
  };
  return all;
}

/// Where deploy/install --tests puts a UCX newer than the build's, to be loaded in its place.
std::filesystem::path newer_ucx(const std::string& version) {
  const char* cache = std::getenv("TROUPE_CACHE");
  const char* home = std::getenv("HOME");
  const std::filesystem::path folder =
      cache ? std::filesystem::path(cache) : std::filesystem::path(home ? home : "/") / ".cache/troupe";
  return folder / "ucx" / version;
}

constexpr int micro_batches = 8;  // of tiny's step

/// Whether the schedule can be played by every data worker.
bool is_legal(const Choice& choice) {
  const auto value = [&](size_t dimension) { return dimensions()[dimension].values[choice[dimension]]; };
  if (value(0) == "1" && (choice[5] > 0 || choice[7] > 0)) return false;  // nothing travels
  if (value(7) != "built" && !std::filesystem::exists(newer_ucx(value(7)) / "libucp.so.0")) return false;
  const int data = std::stoi(value(3));
  if (std::stoi(value(8)) > data) return false;  // planned as with fewer
  config::Parallel::Schedule kind{};
  EXPECT_TRUE(config::Parallel::Schedule_Parse(value(6), &kind));
  for (int worker = 0; worker < data; ++worker) {
    std::vector<int> dealt;
    for (int m = worker; m < micro_batches; m += data) dealt.push_back(m);
    if (config::objection_to({kind, std::stoi(value(1)), dealt})) return false;
  }
  return true;
}

/// "all", or "3/50": every fiftieth from the third on. Empty if it is neither.
std::vector<Choice> part_of(const std::vector<Choice>& legal, const std::string& wish) {
  if (wish == "all") return legal;
  size_t part = 0, parts = 0;
  std::vector<Choice> chosen;
  int length = 0;
  const bool is_part = std::sscanf(wish.c_str(), "%zu/%zu%n", &part, &parts, &length) == 2;
  if (!is_part || static_cast<size_t>(length) != wish.size() || part < 1 || part > parts) return chosen;
  for (size_t i = part - 1; i < legal.size(); i += parts) chosen.push_back(legal[i]);
  return chosen;
}

class BitsTable : public ProgramTest {
 protected:
  BitsTable() {
    // Words of some structure, enough for the vocabulary.
    std::ofstream text(folder_ / "words.txt");
    uint64_t state = 1;
    for (int i = 0; i < 40'000; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      for (uint64_t letters = 2 + (state >> 60) % 6, s = state >> 20; letters > 0; --letters, s /= 13) {
        text << static_cast<char>('a' + s % 13);
      }
      text << (i % 50 == 49 ? ".\n\n" : " ");
    }
  }

  std::string hash_of(const std::string& environment, const std::string& more) {
    std::filesystem::remove_all(folder_ / "run");
    const std::string line = "cd '" + folder_.string() + "' && " + environment +
                             " exec " TROUPE_BINARY_DIR "/troupe train " TROUPE_SOURCE_DIR
                             "/config/runs/pretrain_tiny.textproto --out run --set train.steps=8 "
                             "--set data.text=words.txt --set data.holdout=0 "
                             "--set train.hash_every=0 --set cluster.threads=1 " + more +
                             " > output 2>&1";
    const int status = std::system(line.c_str());
    const std::string output = read_file(folder_ / "output");
    const size_t at = output.rfind("hash ");
    if (status != 0 || at == std::string::npos) return "no hash: " + output;
    return output.substr(at + 5, 16);
  }
};

TEST_F(BitsTable, EveryPlanEndsWithOneHash) {
  if (!runtime::has_ucx()) GTEST_SKIP() << runtime::why_no_ucx();
  const std::string wanted = hash_of("", "");
  ASSERT_EQ(wanted.size(), 16u) << wanted;
  std::vector<size_t> sizes;
  for (const Dimension& dimension : dimensions()) sizes.push_back(dimension.values.size());
  const auto legal = all_choices(sizes, is_legal);
  const char* wish = std::getenv("TROUPE_BITS_TABLE");
  const auto chosen = wish ? part_of(legal, wish) : pairwise(legal);
  EXPECT_TRUE(wish || chosen.size() <= 24) << chosen.size();
  ASSERT_FALSE(chosen.empty()) << "TROUPE_BITS_TABLE is " << wish << ", wanted all or PART/PARTS";
  std::cout << chosen.size() << " of " << legal.size() << " legal combinations" << std::endl;
  for (const Choice& choice : chosen) {
    std::string row, settings, environment;
    for (size_t d = 0; d < choice.size(); ++d) {
      const Dimension& dimension = dimensions()[d];
      const std::string& value = dimension.values[choice[d]];
      row += std::string(d > 0 ? "  " : "") + dimension.name + " " + value;
      if (std::string(dimension.name) == "processes") {
        settings += " --nodes " + value;
      } else if (std::string(dimension.name) == "transport") {
        environment += "UCX_TLS=" + value + " ";
      } else if (std::string(dimension.name) == "ucx") {
        if (value != "built") environment += "LD_LIBRARY_PATH='" + newer_ucx(value).string() + "' ";
      } else {
        settings += std::string(" --set parallel.") + dimension.name + "=" + value;
      }
    }
    const std::string found = hash_of(environment, settings);
    std::cout << row << "  " << found.substr(0, 16) << std::endl;
    EXPECT_EQ(found, wanted) << row;
  }
}

}  // namespace
}  // namespace troupe::tests
