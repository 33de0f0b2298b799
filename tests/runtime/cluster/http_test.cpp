#include "runtime/cluster/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

namespace troupe::tests {
namespace {

using namespace runtime;
using namespace std::chrono_literals;
using testing::HasSubstr;

std::string error_of(const std::string& bytes, bool has_ended) {
  try {
    parse_http_reply(bytes, has_ended);
  } catch (const ClusterError& error) {
    return error.what();
  }
  return "no error";
}

TEST(HttpReply, IsWholeWhenItsLengthIsThere) {
  const std::string bytes = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

  const auto reply = parse_http_reply(bytes, false);

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, "hello");
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(parse_http_reply(bytes.substr(0, n), false)) << n;
  }
}

// As etcd's gateway answers streams, with trailers behind the last chunk.
TEST(HttpReply, JoinsChunks) {
  const std::string bytes =
      "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5\r\nhello\r\nb;x=y\r\n to you all\r\n0\r\nTrailer: x\r\n\r\n";

  const auto reply = parse_http_reply(bytes, false);

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 404);
  EXPECT_EQ(reply->body, "hello to you all");
  EXPECT_FALSE(parse_http_reply(bytes.substr(0, bytes.find("0\r\nTrailer")), false));
}

TEST(HttpReply, WithoutALengthEndsWithTheConnection) {
  const std::string bytes = "HTTP/1.0 200 OK\r\n\r\nall of it";

  EXPECT_FALSE(parse_http_reply(bytes, false));
  EXPECT_EQ(parse_http_reply(bytes, true)->body, "all of it");
}

TEST(HttpReply, SaysWhatIsNone) {
  EXPECT_THAT(error_of("SSH-2.0-OpenSSH\r\n\r\n", false), HasSubstr("found 'SSH-2.0-OpenSSH'"));
  EXPECT_THAT(error_of("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true),
              HasSubstr("a body that is cut off"));
  EXPECT_THAT(error_of("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", false),
              HasSubstr("the length 'many'"));
  EXPECT_THAT(error_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false),
              HasSubstr("the chunk size 'zz'"));
  EXPECT_THAT(error_of("", true), HasSubstr("0 bytes without a head"));
}

TEST(HttpPost, GetsAnAnswer) {
  Listener listener({"127.0.0.1", 0});
  std::string asked;
  std::thread server([&] {
    auto socket = listener.accept(within(5s));
    char part[4096];
    while (asked.find("\r\n\r\nquestion") == std::string::npos && socket->wait(within(5s))) {
      const ssize_t n = ::recv(socket->file(), part, sizeof part, 0);
      if (n <= 0) break;
      asked.append(part, static_cast<size_t>(n));
    }
    const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer";
    EXPECT_EQ(::send(socket->file(), answer.data(), answer.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(answer.size()));
  });

  const HttpReply reply = http_post(listener.endpoint(), "/v3/x", "question", within(5s));
  server.join();

  EXPECT_EQ(reply.body, "answer");
  EXPECT_THAT(asked, HasSubstr("POST /v3/x HTTP/1.1\r\n"));
  EXPECT_THAT(asked, HasSubstr("Content-Length: 8\r\n"));
}

TEST(HttpPost, GivesUpOnWhoTakesARequestAndSaysNothing) {
  Listener listener({"127.0.0.1", 0});

  EXPECT_THROW(http_post(listener.endpoint(), "/", "", within(50ms)), ClusterError);
}

}  // namespace
}  // namespace troupe::tests
