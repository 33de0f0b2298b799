#include "runtime/cluster/watch/process_handle.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <future>

#include "runtime/cluster/watch/exit_watch.h"
#include "runtime/telemetry/process_status.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using namespace std::chrono_literals;

/// A child that waits for a byte, or for the end of its parent, and ends with code 3.
class Child {
 public:
  Child() {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[1]);
      char byte = 0;
      static_cast<void>(!::read(ends[0], &byte, 1));
      ::_exit(3);
    }
    ::close(ends[0]);
    end_ = ends[1];
  }
  ~Child() {
    let_go();
    ::waitpid(pid_, nullptr, 0);
  }
  void let_go() {
    if (end_ >= 0) ::close(end_);
    end_ = -1;
  }
  pid_t pid() const { return pid_; }
  wire::NodeFacts facts() const {
    wire::NodeFacts facts;
    set_own_process(facts);
    facts.set_pid(static_cast<uint64_t>(pid_));
    facts.set_start_time(process_status(pid_)->start_time);
    return facts;
  }

 private:
  pid_t pid_;
  int end_;
};

TEST(ProcessHandle, KnowsHowAChildEnded) {
  Child child;
  const auto handle = ProcessHandle::of(child.facts());
  ASSERT_TRUE(handle);
  EXPECT_FALSE(handle->wait(within(0ms)));

  child.let_go();
  ASSERT_TRUE(handle->wait(within(10s)));
  EXPECT_EQ(handle->how_it_ended(), "ended with code 3");
  EXPECT_EQ(handle->how_it_ended(), "ended with code 3");  // it was not reaped
}

TEST(ProcessHandle, KillsAlsoOneThatIsStopped) {
  Child child;
  const auto handle = ProcessHandle::of(child.facts());
  ASSERT_TRUE(handle);
  ASSERT_EQ(::kill(child.pid(), SIGSTOP), 0);

  handle->kill();
  ASSERT_TRUE(handle->wait(within(10s)));
  EXPECT_EQ(handle->how_it_ended(), "was ended by signal 9 (SIGKILL)");
}

// Another process may have got the number meanwhile, or have the same one on another machine.
TEST(ProcessHandle, IsOfNobodyElse) {
  const Child child;
  wire::NodeFacts later = child.facts(), other_boot = child.facts(), container = child.facts(),
                  old = child.facts();
  later.set_start_time(later.start_time() + 1);
  other_boot.set_boot("0123");
  container.set_pid_namespace(1);
  old.clear_boot();

  EXPECT_FALSE(ProcessHandle::of(later));
  EXPECT_FALSE(ProcessHandle::of(other_boot));
  EXPECT_FALSE(ProcessHandle::of(container));
  EXPECT_FALSE(ProcessHandle::of(old));
  EXPECT_TRUE(ProcessHandle::of(child.facts()));
}

TEST(ExitWatch, SaysWhichOneEndedAndHow) {
  Child first, second;
  std::promise<std::tuple<int, uint32_t, std::string>> promise;
  ExitWatch watch([&](int process, uint32_t life, const std::string& how) {
    promise.set_value({process, life, how});
  });
  watch.watch(1, 1, std::make_shared<ProcessHandle>(*ProcessHandle::of(first.facts())));
  watch.watch(2, 5, std::make_shared<ProcessHandle>(*ProcessHandle::of(second.facts())));

  ASSERT_EQ(::kill(second.pid(), SIGABRT), 0);  // SIGSEGV is taken by sanitizers
  auto ended = promise.get_future();
  ASSERT_EQ(ended.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(ended.get(),
            std::make_tuple(2, 5u, std::string("was ended by signal 6 (SIGABRT)")));
}

TEST(ExitWatch, WhoIsForgottenEndsUnnoticed) {
  Child first, second;
  std::promise<int> promise;
  ExitWatch watch([&](int process, uint32_t, const std::string&) { promise.set_value(process); });
  watch.watch(1, 1, std::make_shared<ProcessHandle>(*ProcessHandle::of(first.facts())));
  watch.watch(2, 5, std::make_shared<ProcessHandle>(*ProcessHandle::of(second.facts())));
  watch.forget(1);

  const auto handle = ProcessHandle::of(first.facts());
  ASSERT_EQ(::kill(first.pid(), SIGKILL), 0);
  ASSERT_TRUE(handle->wait(within(10s)));
  ASSERT_EQ(::kill(second.pid(), SIGKILL), 0);
  auto ended = promise.get_future();
  ASSERT_EQ(ended.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(ended.get(), 2);
}

/// Fewer files are allowed than are watched, so that they cannot be waited for together.
class FewFiles {
 public:
  FewFiles() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit few{1, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  ~FewFiles() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  FewFiles(const FewFiles&) = delete;
  FewFiles& operator=(const FewFiles&) = delete;

 private:
  rlimit before_{};
};

TEST(ExitWatch, GoesOnWhenAllCannotBeWaitedForAtOnce) {
  Child first, second;
  const auto one = std::make_shared<ProcessHandle>(*ProcessHandle::of(first.facts()));
  const auto other = std::make_shared<ProcessHandle>(*ProcessHandle::of(second.facts()));
  std::promise<int> promise;
  auto ended = promise.get_future();
  ExitWatch watch([&](int process, uint32_t, const std::string&) { promise.set_value(process); });
  {
    const FewFiles few;
    watch.watch(1, 1, one);
    watch.watch(2, 1, other);

    ASSERT_EQ(::kill(second.pid(), SIGKILL), 0);

    ASSERT_EQ(ended.wait_for(10s), std::future_status::ready);
  }
  EXPECT_EQ(ended.get(), 2);
}

}  // namespace
}  // namespace troupe::tests
