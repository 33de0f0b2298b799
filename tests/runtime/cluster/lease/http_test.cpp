#include "runtime/cluster/lease/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

namespace troupe::tests {
namespace {

using namespace runtime;
using namespace std::chrono_literals;
using testing::HasSubstr;

/// A server that reads one question and gives one answer, whatever it is.
class Server {
 public:
  explicit Server(std::string answer) : thread_([this, answer = std::move(answer)] {
    auto socket = listener_.accept(within(5s));
    char part[4096];
    while (asked_.find("\r\n\r\nquestion") == std::string::npos && socket->wait(within(5s))) {
      const ssize_t n = ::recv(socket->file(), part, sizeof part, 0);
      if (n <= 0) break;
      asked_.append(part, static_cast<size_t>(n));
    }
    EXPECT_EQ(::send(socket->file(), answer.data(), answer.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(answer.size()));
  }) {}
  ~Server() { end(); }

  HttpReply ask() { return http_post(listener_.endpoint(), "/v3/x", "question", within(5s)); }
  std::string error() {
    try {
      ask();
    } catch (const ClusterError& error) {
      return error.what();
    }
    return "no error";
  }
  /// What has come, when the answer is there.
  const std::string& asked() {
    end();
    return asked_;
  }

 private:
  void end() {
    if (thread_.joinable()) thread_.join();
  }

  Listener listener_{{"127.0.0.1", 0}};
  std::string asked_;
  std::thread thread_;
};

TEST(HttpPost, GetsAnAnswer) {
  Server server("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer");

  const HttpReply reply = server.ask();

  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "answer");
  EXPECT_THAT(server.asked(), HasSubstr("POST /v3/x HTTP/1.1\r\n"));
  EXPECT_THAT(server.asked(), HasSubstr("Content-Length: 8\r\n"));
  EXPECT_THAT(server.asked(), HasSubstr("Content-Type: application/json\r\n"));
}

// As etcd's gateway answers, with trailers behind the last chunk.
TEST(HttpPost, JoinsChunksAndGivesTheStatusOfARefusal) {
  Server server("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
                "5\r\nhello\r\nb\r\n to you all\r\n0\r\nGrpc-Trailer-X: y\r\n\r\n");

  const HttpReply reply = server.ask();

  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.body, "hello to you all");
}

TEST(HttpPost, SaysWhoDoesNotSpeakHttp) {
  Server server("SSH-2.0-OpenSSH\r\n\r\n");

  EXPECT_THAT(server.error(), HasSubstr("127.0.0.1:"));
}

TEST(HttpPost, AnAnswerThatIsCutOffIsNone) {
  Server server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");

  EXPECT_THAT(server.error(), HasSubstr("127.0.0.1:"));
}

TEST(HttpPost, GivesUpOnWhoTakesARequestAndSaysNothing) {
  Listener listener({"127.0.0.1", 0});

  EXPECT_THROW(http_post(listener.endpoint(), "/", "", within(50ms)), ClusterError);
}

}  // namespace
}  // namespace troupe::tests
