// A library of peers of a version of the interface before the first.
#include "deploy/bench/kernels/peers.h"

using namespace troupe::deploy::kernel_bench;

extern "C" const PeerCalls* troupe_kernel_peers() {
  static constexpr PeerCalls calls{.version = peers_version - 1,
                                   .name = "older",
                                   .build = "",
                                   .prepare = nullptr,
                                   .run = nullptr,
                                   .release = nullptr};
  return &calls;
}
