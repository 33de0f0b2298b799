#include "runtime/cluster/http.h"

#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace troupe::runtime {
namespace {

constexpr size_t most_bytes = 64 << 20;

ClusterError no_reply(const std::string& found) {
  return ClusterError("found " + found + ", wanted a reply of HTTP/1.1");
}

size_t number(std::string_view digits, int base, const char* what) {
  size_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end == digits.data() || value > most_bytes) {
    throw no_reply(std::string(what) + " '" + std::string(digits.substr(0, 40)) + "'");
  }
  return value;
}

/// The value of a header; none: there is no such one.
std::optional<std::string> header(std::string_view head, std::string_view name) {
  for (size_t at = head.find("\r\n"); at != std::string_view::npos;) {
    const size_t begin = at + 2, end = std::min(head.find("\r\n", begin), head.size());
    std::string_view line = head.substr(begin, end - begin);
    const bool is_it = line.size() > name.size() && line[name.size()] == ':' &&
                       std::equal(name.begin(), name.end(), line.begin(), [](char a, char b) {
                         return std::tolower(static_cast<unsigned char>(a)) ==
                                std::tolower(static_cast<unsigned char>(b));
                       });
    if (is_it) {
      line.remove_prefix(name.size() + 1);
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      return std::string(line);
    }
    at = head.find("\r\n", begin);
  }
  return std::nullopt;
}

/// RFC 9112, section 7.1; none: the last chunk is not there.
std::optional<std::string> join_chunks(std::string_view bytes) {
  std::string body;
  while (true) {
    const size_t line = bytes.find("\r\n");
    if (line == std::string_view::npos) return std::nullopt;
    const std::string_view digits = bytes.substr(0, std::min(bytes.find(';'), line));
    const size_t size = number(digits, 16, "the chunk size");
    if (size == 0) return body;  // trailers are not waited for
    if (bytes.size() < line + 2 + size + 2) return std::nullopt;
    body += bytes.substr(line + 2, size);
    bytes.remove_prefix(line + 2 + size + 2);
  }
}

}  // namespace

std::optional<HttpReply> parse_http_reply(std::string_view bytes, bool has_ended) {
  const size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (has_ended) throw no_reply(std::to_string(bytes.size()) + " bytes without a head");
    return std::nullopt;
  }
  const std::string_view head = bytes.substr(0, end);
  if (!head.starts_with("HTTP/1.") || head.size() < 12) {
    throw no_reply("'" + std::string(head.substr(0, 40)) + "'");
  }
  HttpReply reply{static_cast<int>(number(head.substr(9, 3), 10, "the status")), {}};
  const std::string_view rest = bytes.substr(end + 4);
  if (header(head, "Transfer-Encoding") == "chunked") {
    auto body = join_chunks(rest);
    if (!body && has_ended) throw no_reply("a body that is cut off");
    if (!body) return std::nullopt;
    reply.body = std::move(*body);
    return reply;
  }
  const auto length = header(head, "Content-Length");
  const size_t size = length ? number(*length, 10, "the length") : rest.size();
  if ((!length && !has_ended) || rest.size() < size) {
    if (has_ended) throw no_reply("a body that is cut off");
    return std::nullopt;
  }
  reply.body = rest.substr(0, size);
  return reply;
}

HttpReply http_post(const Endpoint& to, const std::string& path, const std::string& body,
                    Deadline deadline) {
  const FrameSocket socket = FrameSocket::connect(to, deadline);
  const std::string request = "POST " + path + " HTTP/1.1\r\nHost: " + to_string(to) +
                              "\r\nContent-Type: application/json\r\nConnection: close\r\n" +
                              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  const auto fail = [&](const std::string& why) -> ClusterError {
    return ClusterError(to_string(to) + " " + why);
  };
  for (size_t sent = 0; sent < request.size();) {
    const ssize_t n =
        ::send(socket.file(), request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (n > 0) sent += static_cast<size_t>(n);
    if (n > 0 || errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) throw fail(std::strerror(errno));
    if (!socket.wait_to_send(deadline)) throw fail("has not taken a request in time");
  }
  std::string bytes;
  char part[16 << 10];
  while (true) {
    const ssize_t n = ::recv(socket.file(), part, sizeof part, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (!socket.wait(deadline)) throw fail("has not answered in time");
      continue;
    }
    if (n < 0) throw fail(std::strerror(errno));
    bytes.append(part, static_cast<size_t>(n));
    if (auto reply = parse_http_reply(bytes, n == 0)) return *reply;
    if (bytes.size() > most_bytes) throw fail("has sent more than 64 MiB");
  }
}

}  // namespace troupe::runtime
