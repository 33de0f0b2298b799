// How token messages get from one process to another: a letter, which the plane does not read, and
// tensors, which it takes from where they lie and puts into memory of its own on the other side.
// One interface, one file per transport; inside a process pointers travel and no plane is asked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/cluster/cluster_error.h"
#include "runtime/wire.h"

namespace troupe::runtime {

/// A peer is not reached, or this process has no way to any.
class DataPlaneError : public ClusterError {
 public:
  using ClusterError::ClusterError;
};

/// One message between processes. Tensors are contiguous, of any dtype and shape, empty ones too;
/// their owners are kept until the memory is no longer needed.
struct Parcel {
  std::string letter;
  std::vector<TensorRef> tensors;
};

/// What a plane tells whoever owns it. Called on its progress thread: to return soon, and not to
/// call the plane's destructor.
struct PlaneEvents {
  /// All of a parcel is there. Parcels of one peer may overtake each other.
  std::function<void(int peer, Parcel parcel)> received;
  /// A peer is gone, or was disconnected; `undelivered` are the letters of all parcels to it whose
  /// arrival it has not confirmed. Called once for each connection, and nothing of that peer is
  /// received behind it.
  std::function<void(int peer, const std::string& why, std::vector<std::string> undelivered)> lost;
};

/// Since the plane was made.
struct PlaneCounters {
  uint64_t parcels_sent = 0, parcels_received = 0;
  uint64_t tensor_bytes_sent = 0, tensor_bytes_received = 0;
  uint64_t parcels_taken = 0;     ///< given to send(), whether they have left or wait for credit
  uint64_t wire_bytes_taken = 0;  ///< theirs, with letters and headers
  uint64_t copied_bytes = 0;      ///< that passed through a buffer of the plane on their way out or in
  uint64_t parcels_held_back = 0; ///< that waited for credit before they left
  uint64_t sleeps = 0;            ///< of the progress thread
};

class DataPlane {
 public:
  virtual ~DataPlane() = default;

  /// "ucx 1.13.1 (tcp)", for people.
  virtual std::string describe() const = 0;
  /// How peers reach this process: opaque bytes, to be given to their connect().
  virtual std::string address() const = 0;

  /// Whether a tensor in a GPU's memory may be sent, and comes into that of the receiver's GPU.
  virtual bool carries_gpu_memory() const = 0;

  /// Peers are numbered by their owner, the same in both directions. Throws DataPlaneError when the
  /// address cannot be used or the peer is connected. Both sides connect before either sends.
  virtual void connect(int peer, const std::string& address) = 0;
  /// Gives up what is under way to and from a peer; lost() follows, before a connect() behind this
  /// returns.
  virtual void disconnect(int peer) = 0;

  /// From any thread; returns at once. What a peer has no credit for waits here, in order. A parcel
  /// to a peer that is not connected (any more) is reported by lost() if it was lost on the way,
  /// and throws DataPlaneError otherwise.
  virtual void send(int peer, Parcel parcel) = 0;

  virtual PlaneCounters counters() const = 0;
};

struct PlaneOptions {
  /// Of UCX (UCX_TLS); empty: TCP, and inside a host reads by the kernel and CUDA's between GPUs.
  std::string transports = {};
  std::string network = {};        ///< network devices of UCX, as "lo" or "eth0"; empty: all
  bool has_checksums = false;      ///< xxh3 of every payload, checked on arrival
  uint64_t credit_parcels = 256;   ///< to one peer, unconfirmed
  uint64_t credit_bytes = 1u << 30;
  int spin_us = 20;                ///< that the progress thread looks for work before it sleeps
};

/// The plane of this build between processes. Throws DataPlaneError where it has none.
std::unique_ptr<DataPlane> make_ucx_plane(const PlaneOptions& options, PlaneEvents events);
/// Why make_ucx_plane cannot work in this build; empty: it can.
std::string why_no_ucx();
inline bool has_ucx() { return why_no_ucx().empty(); }

}  // namespace troupe::runtime
