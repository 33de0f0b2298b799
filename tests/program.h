// Tests of the program as a user runs it: a folder with a text, a tiny run of it, its output.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace troupe::tests {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Changes one byte in place.
inline void alter_byte(const std::filesystem::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get());
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 0x10));
}

class ProgramTest : public testing::Test {
 protected:
  ProgramTest() : folder_(std::filesystem::path(testing::TempDir()) / name()) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::ofstream text(folder_ / "text.txt");
    const char* words[] = {"actor", "stage", "router", "expert", "step", "commit", "hash"};
    for (int i = 0; i < 8000; ++i) {
      text << words[i * i % 61 * i % 7] << (i % 11 == 10 ? ".\n\n" : " ");
    }
  }
  ~ProgramTest() override { std::filesystem::remove_all(folder_); }

  static std::string name() {
    const auto& test = *testing::UnitTest::GetInstance()->current_test_info();
    return std::string(test.test_suite_name()) + "_" + test.name();
  }

  /// A command line of `troupe ARGUMENTS` in the folder, without redirections.
  std::string command(const std::string& arguments) const {
    return "cd '" + folder_.string() + "' && exec " TROUPE_BINARY_DIR "/troupe " + arguments;
  }
  /// A command line of `troupe ARGUMENTS` with the secret that all of a test have.
  std::string with_secret(const std::string& arguments) const {
    std::string line = command(arguments);
    line.insert(line.find("exec "), "export TROUPE_SECRET=sixteen-bytes-or-more && ");
    return line;
  }

  /// Exit code of `troupe ARGUMENTS`; output_ gets both streams.
  int troupe(const std::string& arguments) {
    const std::filesystem::path output = folder_ / "output";
    const int status =
        std::system((command(arguments) + " > '" + output.string() + "' 2>&1").c_str());
    output_ = read_file(output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  /// "train ..." of 12 steps into `run`. A checkpoint that is due while another is being written is
  /// left out, so only that of the last step is sure.
  static std::string train(const std::string& more = "") {
    return "train " TROUPE_SOURCE_DIR
           "/config/runs/pretrain_tiny.textproto --out run --set data.text=text.txt "
           "--set data.seq_len=16 --set data.tokenizer.train.vocab_size=270 "
           "--set model.with.vocab_size=270 --set model.with.layers=2 "
           "--set model.with.hidden_size=32 --set train.micro_batches=2 --set train.steps=12 " +
           more;
  }

  /// Trains 12 steps into `run`, with checkpoints of steps 5, 10 and 12, as three parts of a run.
  void train_in_parts() {
    ASSERT_EQ(troupe(train("--set train.steps=5 --set train.optimizer.decay=CONSTANT "
                           "--set checkpoint.every=1000 --set checkpoint.keep=3")), 0) << output_;
    for (const char* steps : {"10", "12"}) {
      ASSERT_EQ(troupe(std::string("train --resume run --set train.steps=") + steps), 0) << output_;
    }
  }

  /// The hash of a step in the run's metrics, as it was printed while it was trained.
  std::string trained_hash(int step) const {
    const std::string metrics = read_file(folder_ / "run/metrics.jsonl");
    const size_t line = metrics.find("{\"step\":" + std::to_string(step) + ",");
    const size_t at = metrics.find("\"hash\":\"", line);
    return at == std::string::npos ? "none" : metrics.substr(at + 8, 16);
  }

  const std::filesystem::path folder_;
  std::string output_;
};

}  // namespace troupe::tests
