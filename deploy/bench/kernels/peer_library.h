#pragma once

#include <memory>
#include <string>

#include "deploy/bench/kernels/peers.h"

namespace troupe::deploy::kernel_bench {

/// A product of a peer that is ready to be run.
class PreparedPeer {
 public:
  PreparedPeer(const PeerCalls& calls, void* product) : calls_(calls), product_(product) {}
  ~PreparedPeer() { calls_.release(product_); }
  PreparedPeer(const PreparedPeer&) = delete;
  PreparedPeer& operator=(const PreparedPeer&) = delete;

  /// Launches it on a CUstream_st*. Throws std::runtime_error with what the library says.
  void run(void* stream) const;

 private:
  const PeerCalls& calls_;
  void* const product_;
};

/// A library of peers; it stays loaded until the process ends.
class PeerLibrary {
 public:
  /// Throws std::runtime_error, naming the file, if it cannot be loaded or is no library of peers of this version.
  explicit PeerLibrary(const std::string& file);

  std::string name() const { return calls_->name; }
  std::string build() const { return calls_->build; }

  /// Null where the library has no algorithm for the product. Throws std::runtime_error.
  std::unique_ptr<const PreparedPeer> prepare(const PeerProduct& product) const;

 private:
  const PeerCalls* calls_;
};

}  // namespace troupe::deploy::kernel_bench
