#include "runtime/cluster/lease/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

namespace troupe::runtime {
namespace {

constexpr size_t most_bytes = 64 << 20;
/// Between two times that nobody listens there.
constexpr std::chrono::milliseconds pause{20};

struct Request {
  Request() : handle(::curl_easy_init(), &::curl_easy_cleanup), headers(nullptr, &::curl_slist_free_all) {
    if (!handle) throw ClusterError("cannot make an HTTP request: out of memory");
  }
  template <class Value>
  void set(CURLoption option, Value value) {
    ::curl_easy_setopt(handle.get(), option, value);
  }

  std::unique_ptr<CURL, void (*)(CURL*)> handle;
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers;
};

size_t append(char* bytes, size_t, size_t count, void* body) {
  auto& all = *static_cast<std::string*>(body);
  if (all.size() + count > most_bytes) return 0;  // refused
  all.append(bytes, count);
  return count;
}

std::string describe(CURLcode code, const Endpoint& to, const char* detail) {
  const std::string who = to_string(to);
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT: return "cannot reach " + who + ": " + detail;
    case CURLE_OPERATION_TIMEDOUT: return who + " has not answered in time";
    case CURLE_WRITE_ERROR: return who + " has sent more than 64 MiB";
    default: return who + ": " + ::curl_easy_strerror(code);
  }
}

}  // namespace

HttpReply http_post(const Endpoint& to, const std::string& path, const std::string& body,
                    Deadline deadline) {
  // Once, and before any other thread asks.
  static const CURLcode ready = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) throw ClusterError("cannot use HTTP: " + std::string(::curl_easy_strerror(ready)));
  Request request;
  HttpReply reply;
  const std::string url = "http://" + to_string(to) + path;
  request.headers.reset(::curl_slist_append(nullptr, "Content-Type: application/json"));
  char detail[CURL_ERROR_SIZE] = "";
  request.set(CURLOPT_ERRORBUFFER, detail);
  request.set(CURLOPT_URL, url.c_str());
  request.set(CURLOPT_PROTOCOLS_STR, "http");
  request.set(CURLOPT_PROXY, "");     // the servers of a cluster are reached directly
  request.set(CURLOPT_NOSIGNAL, 1L);  // there are threads
  request.set(CURLOPT_HTTPHEADER, request.headers.get());
  request.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  request.set(CURLOPT_POSTFIELDS, body.c_str());
  request.set(CURLOPT_HTTP09_ALLOWED, 0L);
  request.set(CURLOPT_WRITEFUNCTION, &append);
  request.set(CURLOPT_WRITEDATA, static_cast<void*>(&reply.body));
  while (true) {
    using std::chrono::milliseconds;
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    request.set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<int64_t>(1, left.count())));
    reply.body.clear();
    const CURLcode code = ::curl_easy_perform(request.handle.get());
    if (code == CURLE_OK) break;
    // Who is not there yet, or not again, may come.
    if (code != CURLE_COULDNT_CONNECT || left < pause) throw ClusterError(describe(code, to, detail));
    std::this_thread::sleep_for(pause);
  }
  long status = 0;
  ::curl_easy_getinfo(request.handle.get(), CURLINFO_RESPONSE_CODE, &status);
  reply.status = static_cast<int>(status);
  return reply;
}

}  // namespace troupe::runtime
