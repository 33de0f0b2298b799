#include "runtime/data_plane/ucx_context.h"

#include <sys/random.h>
#include <ucs/config/global_opts.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>
#include <utility>
#include <vector>

extern "C" void ucs_debug_disable_signal(int signum);

namespace troupe::runtime {
namespace {

constexpr char magic[8] = {'T', 'R', 'P', 'U', 'C', 'X', '0', '2'};

struct AddressHeader {
  char magic[8];
  uint64_t plane;
  uint32_t ucx_major;
  uint32_t ucx_minor;
  uint64_t carries_gpu_memory;  ///< 0 or 1
  uint64_t checksum;  ///< xxh3 of what follows, seeded with the plane's number
};

/// Sets what UCX takes from the environment alone (settings of one transport), and takes back what it has done
/// to the process when it was loaded, while there is one thread: before main. What the user has set stays.
///
/// Where peers may fail, UCX does without copies by the kernel, and without shared memory, unless it
/// is told that both can bear it. The first can: the kernel is only asked to read (see RNDV_SCHEME
/// below), at worst memory that its owner has given up. Shared memory cannot: one queue takes what all
/// peers send, each reserves its place and then writes, and the reader waits for ever at a place whose
/// writer has died (1 in 50 kills of a peer that sends all the time). So it is used only by who asks for it, where
/// a death ends everything anyway.
///
/// TCP sends tensors through buffers (see ZCOPY_THRESH below), of 8 KiB unless told otherwise: a call of
/// the kernel for each. Receivers need as large ones.
[[maybe_unused]] const bool is_environment_set = [] {
  const std::pair<const char*, const char*> settings[] = {{"UCX_POSIX_ERROR_HANDLING", "y"},
                                                          {"UCX_SYSV_ERROR_HANDLING", "y"},
                                                          {"UCX_CMA_MEMORY_INVALIDATE", "y"},
                                                          {"UCX_TCP_TX_SEG_SIZE", "256K"},
                                                          {"UCX_TCP_RX_SEG_SIZE", "256K"}};
  // A signal that prints UCX's threads, by default: it is the terminal's that closes.
  ucs_debug_disable_signal(SIGHUP);
  return std::all_of(std::begin(settings), std::end(settings),
                     [](const auto& one) { return ::setenv(one.first, one.second, 0) == 0; });
}();

/// Settings of the library that belong to the whole process: faults are nobody's business but the
/// program's, and what goes wrong is told by events and errors, not on the console.
void set_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (std::getenv("UCX_LOG_LEVEL") == nullptr) ucs_global_opts_set_value("LOG_LEVEL", "fatal");
    // A GPU's memory is asked for where it is: without hooks in CUDA, which modules of UCX may fail to load, the
    // cache takes what it has not seen for the host's.
    ucs_global_opts_set_value("MEMTYPE_CACHE", "n");
    for (const int fault : {SIGILL, SIGSEGV, SIGBUS, SIGFPE}) ucs_debug_disable_signal(fault);
  });
}

/// Settings of one context, from where UCX would take them from the environment.
class Settings {
 public:
  Settings() { check_ucx(ucp_config_read(nullptr, nullptr, &config_), "ucp_config_read"); }
  ~Settings() { ucp_config_release(config_); }
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;

  void set(const char* name, const std::string& value) {
    check_ucx(ucp_config_modify(config_, name, value.c_str()),
              std::string("UCX_") + name + "=" + value);
  }
  const ucp_config_t* get() const { return config_; }

 private:
  ucp_config_t* config_ = nullptr;
};

}  // namespace

void check_ucx(ucs_status_t status, const std::string& what) {
  if (status != UCS_OK) throw DataPlaneError(what + ": " + ucs_status_string(status));
}

ucs_memory_type_t memory_type_of(kernels::Device device) {
  return device == kernels::Device::cuda ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST;
}

UcxContext::UcxContext(const PlaneOptions& options) {
  set_library();
  Settings settings;
  settings.set("TLS", options.transports.empty() ? "cma,tcp,cuda" : options.transports);
  if (!options.network.empty()) settings.set("NET_DEVICES", options.network);
  // A peer never writes into this process: what it may still be sending cannot land in memory that
  // has been given to somebody else.
  settings.set("RNDV_SCHEME", "get_zcopy");
  // Where rendezvous has no get (TCP), UCX 1.13 sends without a copy, counts such a send as done
  // when the peer dies, and aborts the process when the socket reports it a second time.
  settings.set("ZCOPY_THRESH", "inf");
  // Troupe notices deaths itself and before; this is for planes that are used without it.
  settings.set("KEEPALIVE_INTERVAL", "200ms");
  // Pages of the process, also where /dev/shm is small; a device's memory by its own driver.
  settings.set("ALLOC_PRIO", "thp,mmap,heap,md:*");

  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.mt_workers_shared = 1;  // memory comes back from any thread
  check_ucx(
      ucp_init(&params, settings.get(), &handle_),
      "UCX with transports '" + options.transports + "' on network '" + options.network + "'");
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  const ucs_status_t status = ucp_context_query(handle_, &attributes);
  if (status != UCS_OK) ucp_cleanup(handle_);
  check_ucx(status, "ucp_context_query");
  knows_gpu_memory_ = (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA)) != 0;
}

std::string to_bytes(const PlaneAddress& address) {
  AddressHeader header{};
  std::memcpy(header.magic, magic, sizeof magic);
  header.plane = address.plane;
  unsigned release = 0;
  ucp_get_version(&header.ucx_major, &header.ucx_minor, &release);
  header.carries_gpu_memory = address.carries_gpu_memory;
  header.checksum =
      XXH3_64bits_withSeed(address.worker.data(), address.worker.size(), address.plane);
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  return bytes + address.worker;
}

PlaneAddress plane_address(const std::string& bytes) {
  AddressHeader header{};
  if (bytes.size() > sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, magic, sizeof magic) != 0) {
    throw DataPlaneError("found " + std::to_string(bytes.size()) +
                         " bytes, wanted the address of a UCX plane");
  }
  PlaneAddress address{header.plane, bytes.substr(sizeof header), header.carries_gpu_memory != 0};
  if (to_bytes(address).substr(0, sizeof header) == bytes.substr(0, sizeof header)) return address;
  unsigned major = 0, minor = 0, release = 0;
  ucp_get_version(&major, &minor, &release);
  const auto text = [](unsigned a, unsigned b) {
    return "UCX " + std::to_string(a) + "." + std::to_string(b);
  };
  if (header.ucx_major != major || header.ucx_minor != minor) {
    throw DataPlaneError("found an address of " + text(header.ucx_major, header.ucx_minor) +
                         ", wanted one of " + text(major, minor));
  }
  throw DataPlaneError("the address of a UCX plane is damaged: its checksum does not hold");
}

uint64_t new_plane_number() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) {
    throw DataPlaneError(std::string("getrandom: ") + std::strerror(errno));
  }
  return number;
}

bool aborts_with_cut_reads() {
  unsigned major = 0, minor = 0, release = 0;
  ucp_get_version(&major, &minor, &release);
  return std::pair(major, minor) < std::pair(1u, 22u);
}

void keep_for_good(ucp_worker_h worker, std::shared_ptr<const UcxContext> context) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::pair<ucp_worker_h, std::shared_ptr<const UcxContext>>>();
  std::lock_guard lock(mutex);
  kept->emplace_back(worker, std::move(context));
}

}  // namespace troupe::runtime
