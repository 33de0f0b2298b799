// What goes over UCX's wire and comes from it, by plane number. Belongs to one thread, which makes
// it, uses it and ends it.
//
// Five active messages: a packed parcel, a tensor that travels by itself (always by rendezvous, so
// that it goes from its memory straight into memory of its size), numbers of parcels that have
// arrived, a hello, and a goodbye.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data_plane/parcel_format.h"
#include "runtime/data_plane/ucx_memory.h"

namespace troupe::runtime {

/// What a worker hands on, from inside progress(). An exception ends the connection to the plane
/// that the message came from.
class UcxListener {
 public:
  virtual ~UcxListener() = default;
  virtual void parcel(const ParcelHeader& header, std::string_view packed) = 0;
  virtual void tensor(const TensorHeader& header, TensorRef memory) = 0;
  virtual void confirmed(uint64_t plane, std::span<const uint64_t> numbers) = 0;
  /// The connection can be used no more, and is to be closed. May come several times, also for
  /// planes that are not connected any more.
  virtual void failed(uint64_t plane, const std::string& why) = 0;
};

class UcxWorker {
 public:
  /// Throws DataPlaneError.
  UcxWorker(std::shared_ptr<const UcxContext> context, std::shared_ptr<UcxMemory> memory,
            uint64_t plane, UcxListener& listener);
  /// Gives up what is under way; peers are told.
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  std::string address() const;
  /// Readable when an armed worker has something to do.
  int file() const;

  /// Throws DataPlaneError if UCX cannot reach that address.
  void connect(uint64_t plane, const std::string& address);
  /// Gives up what is under way to and from these planes. Whoever can be reached within 20 ms is
  /// told why.
  void close(std::span<const uint64_t> planes, const std::string& why);

  /// To planes that are connected. Failures are the listener's to hear.
  void send(uint64_t plane, PackedParcel parcel);
  void confirm(uint64_t plane, std::span<const uint64_t> numbers);

  /// Whether UCX still has something to send or to receive.
  bool is_under_way() const { return !sends_.empty() || !receives_.empty(); }
  /// Whether a GPU copies something from a peer's to here: tens of microseconds, of whose end UCX tells a sleeper
  /// late.
  bool is_reading_gpu() const;
  /// Does what there is to do. False if there was nothing.
  bool progress() { return ucp_worker_progress(handle_) != 0; }
  /// False if there is something to do before one may sleep on file().
  bool arm() { return ucp_worker_arm(handle_) == UCS_OK; }

 private:
  /// A tensor that a peer has ready.
  struct Offer {
    void* descriptor;
    TensorHeader header;
  };
  struct Endpoint {
    UcxWorker* worker;
    uint64_t plane;
    ucp_ep_h handle = nullptr;
    bool has_failed = false;
    size_t receives = 0;  // under way
    std::deque<Offer> offers = {};  // behind them
  };
  struct Closing {
    std::unique_ptr<Endpoint> endpoint;
    ucs_status_ptr_t request;
  };
  struct Send;
  struct Receive;

  void post(unsigned id, std::unique_ptr<Send> send, uint32_t flags);
  void receive_next(Endpoint& from);
  void receive(const Offer& offer);
  void end(Receive* receive, ucs_status_t status);
  void sweep_closed();
  template <class Done>
  void progress_until(std::chrono::milliseconds time, Done is_done);

  template <class Header, class Handle>
  static ucs_status_t guarded(void* self, const void* header, size_t length, Handle handle);
  static void sent(void* request, ucs_status_t status, void* send);
  static void received(void* request, ucs_status_t status, size_t length, void* receive);
  static void endpoint_failed(void* endpoint, ucp_ep_h handle, ucs_status_t status);
  static ucs_status_t on_parcel(void*, const void*, size_t, void*, size_t,
                                const ucp_am_recv_param_t*);
  static ucs_status_t on_tensor(void*, const void*, size_t, void*, size_t,
                                const ucp_am_recv_param_t*);
  static ucs_status_t on_confirm(void*, const void*, size_t, void*, size_t,
                                 const ucp_am_recv_param_t*);
  static ucs_status_t on_hello(void*, const void*, size_t, void*, size_t,
                               const ucp_am_recv_param_t*);
  static ucs_status_t on_goodbye(void*, const void*, size_t, void*, size_t,
                                 const ucp_am_recv_param_t*);

  const std::shared_ptr<const UcxContext> context_;
  const std::shared_ptr<UcxMemory> memory_;
  const uint64_t plane_;
  UcxListener& listener_;
  ucp_worker_h handle_ = nullptr;
  std::map<uint64_t, std::unique_ptr<Endpoint>> endpoints_;
  std::set<uint64_t> greeted_by_;  // planes whose way to here is open
  std::vector<Closing> closing_;
  std::set<Send*> sends_;        // under way
  std::set<Receive*> receives_;  // under way
  std::set<Receive*> given_up_;  // of planes that are gone; UCX may never give them back
  bool has_cut_reads_ = false;   // some were given up
};

}  // namespace troupe::runtime
