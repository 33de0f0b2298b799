// The program as a user gets it wrong: what it says, its exit code, and that nothing is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Program : public testing::Test {
 protected:
  Program()
      : folder_(fs::path(testing::TempDir()) /
                ("program_" +
                 std::string(testing::UnitTest::GetInstance()->current_test_info()->name()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::ofstream text(folder_ / "text.txt");
    const char* words[] = {"actor", "stage", "router", "expert", "step", "commit", "hash"};
    for (int i = 0; i < 8000; ++i) {
      text << words[i * i % 61 * i % 7] << (i % 11 == 10 ? ".\n\n" : " ");
    }
  }
  ~Program() override { fs::remove_all(folder_); }

  /// Exit code of `troupe ARGUMENTS` in the folder; output_ gets both streams.
  int troupe(const std::string& arguments) {
    const std::string command = "cd '" + folder_.string() + "' && " TROUPE_BINARY_DIR "/troupe " +
                                arguments + " > '" + (folder_ / "output").string() + "' 2>&1";
    const int status = std::system(command.c_str());
    output_ = read(folder_ / "output");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  static std::string train(const std::string& more) {
    return "train " TROUPE_SOURCE_DIR
           "/config/runs/pretrain_tiny.textproto --set data.text=text.txt --set data.seq_len=16 "
           "--set data.tokenizer.train.vocab_size=270 --set model.with.vocab_size=270 "
           "--set model.with.layers=2 --set model.with.hidden_size=32 --set train.micro_batches=2 " +
           more;
  }

  std::string last_hash() const {
    const size_t at = output_.rfind("hash ");
    return at == std::string::npos ? "no hash in: " + output_ : output_.substr(at + 5, 16);
  }

  const fs::path folder_;
  std::string output_;
};

TEST_F(Program, UnknownCommandsAndOptionsAreUsageErrors) {
  EXPECT_EQ(troupe("nosuch"), 2);
  EXPECT_THAT(output_, HasSubstr("found the command 'nosuch', wanted one of train, node, drain, plan, generate"));
  EXPECT_EQ(troupe("train"), 2);
  EXPECT_EQ(troupe("train --resume x --out y"), 2);
  EXPECT_EQ(troupe("generate --model x --prompt y --temperature nan"), 2);
  EXPECT_EQ(troupe("generate --model x --prompt y --seed -1"), 2);
}

TEST_F(Program, WrongInputIsNamed) {
  EXPECT_EQ(troupe("train nosuch.textproto"), 1);
  EXPECT_THAT(output_, HasSubstr("nosuch.textproto"));
  EXPECT_EQ(troupe(train("--set train.stepz=3")), 1);
  EXPECT_THAT(output_, HasSubstr("train.stepz: found an unknown field, wanted train.steps"));
  EXPECT_EQ(troupe(train("--set =3")), 1);
  EXPECT_THAT(output_, HasSubstr("found no path"));
  std::ofstream(folder_ / "text.txt") << "a b c";
  EXPECT_EQ(troupe(train("--set train.steps=1")), 1);
  EXPECT_THAT(output_, HasSubstr("data.tokenizer.train: found 267 tokens, wanted 270"));
}

TEST_F(Program, PromptsAndTextsThatCannotBeUsedAreNamed) {
  ASSERT_EQ(troupe(train("--set train.steps=1 --out run")), 0) << output_;

  EXPECT_EQ(troupe("generate --model run/model --prompt \"$(printf '\\377')\""), 1);
  EXPECT_THAT(output_, HasSubstr("--prompt: text is not valid UTF-8"));
  EXPECT_EQ(troupe("generate --model run/model --prompt \"$(head -c 40000 text.txt)\""), 1);
  EXPECT_THAT(output_, HasSubstr("wanted at most the model's 4096 positions"));
  std::ofstream(folder_ / "empty.txt");
  EXPECT_EQ(troupe("eval --model run/model --text empty.txt"), 1);
  std::ofstream(folder_ / "latin.txt") << "Z\xfcrich";
  EXPECT_EQ(troupe("eval --model run/model --text latin.txt"), 1);
  EXPECT_THAT(output_, HasSubstr("latin.txt: found a byte that is not UTF-8 at 1 of 6"));
}

TEST_F(Program, TokenizerCommandsWriteOverNothing) {
  const std::string text = read(folder_ / "text.txt");
  ASSERT_EQ(troupe("tokenizer train --text text.txt --vocab-size 270 --out tok"), 0) << output_;

  EXPECT_EQ(troupe("tokenizer train --text text.txt --vocab-size 270 --out tok"), 1);
  EXPECT_EQ(troupe("tokenizer pack --model tok --text text.txt --out text.txt"), 1);
  EXPECT_THAT(output_, HasSubstr("text.txt: found something already"));
  EXPECT_EQ(read(folder_ / "text.txt"), text);
}

TEST_F(Program, LinesOfAClosedOutputLandInNoFile) {
  const std::string command = "cd '" + folder_.string() + "' && " TROUPE_BINARY_DIR "/troupe " +
                              train("--set train.steps=2 --out run") + " >&- 2>&-";
  EXPECT_EQ(std::system(command.c_str()), 0);

  EXPECT_THAT(read(folder_ / "run/lock"), Not(HasSubstr("step")));
  EXPECT_THAT(read(folder_ / "run/metrics.jsonl"), Not(HasSubstr("run folder")));
}

TEST_F(Program, AnOutputThatCannotBeWrittenIsAnError) {
  ASSERT_EQ(troupe("tokenizer train --text text.txt --vocab-size 270 --out tok"), 0) << output_;

  EXPECT_EQ(troupe("tokenizer encode --model tok < text.txt"), 1);  // no JSON
  const std::string command = "cd '" + folder_.string() + "' && echo '[\"a\"]' | " TROUPE_BINARY_DIR
                              "/troupe tokenizer encode --model tok > /dev/full 2>/dev/null";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
}

// A stopped run has its checkpoint and model, and goes on to the hash of never having stopped.
TEST_F(Program, ASignalEndsARunThatCanGoOn) {
  ASSERT_EQ(troupe(train("--set train.steps=40 --out quiet")), 0) << output_;
  const std::string wanted = last_hash();
  const std::string command = "cd '" + folder_.string() + "' && exec " TROUPE_BINARY_DIR "/troupe " +
                              train("--set train.steps=40 --out run") + " 2>/dev/null";
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGINT, SIG_DFL);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  FILE* lines = ::fdopen(ends[0], "r");
  char line[4096];
  std::string last;
  while (std::fgets(line, sizeof line, lines) != nullptr) {
    last = line;
    if (last.starts_with("step 2 ")) ::kill(child, SIGINT);
  }
  std::fclose(lines);
  int status = 0;
  ::waitpid(child, &status, 0);

  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_THAT(last, HasSubstr("hash "));
  EXPECT_TRUE(fs::exists(folder_ / "run/model/model.safetensors"));
  EXPECT_FALSE(fs::is_empty(folder_ / "run/checkpoints"));
  EXPECT_EQ(troupe("train --resume run"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("; 0 committed steps are done again"));
  EXPECT_EQ(last_hash(), wanted);
}

TEST_F(Program, AReaderThatHasGoneEndsARunThatCanGoOn) {
  const std::string command = "cd '" + folder_.string() + "' && { " TROUPE_BINARY_DIR "/troupe " +
                              train("--set train.steps=100000 --out run") +
                              " 2>error; echo $? >code; } | head -n 3 >/dev/null";
  static_cast<void>(!std::system(command.c_str()));  // of head

  EXPECT_EQ(read(folder_ / "code"), "141\n");
  EXPECT_THAT(read(folder_ / "error"), HasSubstr("troupe train --resume run goes on"));
  EXPECT_TRUE(fs::exists(folder_ / "run/model/model.safetensors"));
}

}  // namespace
}  // namespace troupe::tests
