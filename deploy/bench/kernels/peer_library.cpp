#include "deploy/bench/kernels/peer_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <stdexcept>

namespace troupe::deploy::kernel_bench {
namespace {

constexpr int64_t error_bytes = 256;

/// Calls f(error) and throws what it says.
template <class F>
void expect_success(const char* peer, F f) {
  char error[error_bytes] = "";
  if (f(error) == 0) return;
  error[error_bytes - 1] = 0;
  throw std::runtime_error(fmt::format("{}: {}", peer, error));
}

}  // namespace

void PreparedPeer::run(void* stream) const {
  expect_success(calls_.name, [&](char* error) { return calls_.run(product_, stream, error, error_bytes); });
}

PeerLibrary::PeerLibrary(const std::string& file) {
  // A name without a folder would be looked for where the system has its libraries.
  const std::string path = std::filesystem::absolute(file).string();
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) throw std::runtime_error(fmt::format("--peers: {}", ::dlerror()));
  const auto entry = reinterpret_cast<PeersEntry>(::dlsym(library, peers_entry));
  if (entry == nullptr) {
    throw std::runtime_error(fmt::format("--peers: {} has no function {}, wanted a library of peers "
                                         "(the target kernel_peers is one)", file, peers_entry));
  }
  calls_ = entry();
  if (calls_ == nullptr || calls_->version != peers_version) {
    throw std::runtime_error(fmt::format("--peers: {} has version {} of the interface, wanted {}", file,
                                         calls_ == nullptr ? 0 : calls_->version, peers_version));
  }
}

std::unique_ptr<const PreparedPeer> PeerLibrary::prepare(const PeerProduct& product) const {
  void* prepared = nullptr;
  expect_success(calls_->name, [&](char* error) { return calls_->prepare(&product, &prepared, error, error_bytes); });
  return prepared == nullptr ? nullptr : std::make_unique<const PreparedPeer>(*calls_, prepared);
}

}  // namespace troupe::deploy::kernel_bench
