#include "runtime/data_plane/nccl_library.h"

#include <dlfcn.h>

#include <array>

namespace troupe::runtime {
namespace {

/// The first with communicators that do not block, and can be split.
constexpr int least_version = 21803;

void* open_library(std::string& why) {
  constexpr std::array places{"libnccl.so.2", TROUPE_NCCL_LIBRARY};
  for (const char* place : places) {
    if (place[0] == '\0') continue;
    if (void* library = dlopen(place, RTLD_NOW | RTLD_LOCAL)) return library;
    why += (why.empty() ? "" : "; ") + std::string(dlerror());
  }
  return nullptr;
}

NcclLibrary load() {
  NcclLibrary out{};
  void* const library = open_library(out.why);
  if (library == nullptr) return out;
  out.why.clear();
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr && out.why.empty()) out.why = std::string("libnccl.so.2 has no ") + name;
  };
  find(out.get_version, "ncclGetVersion");
  find(out.get_unique_id, "ncclGetUniqueId");
  find(out.init, "ncclCommInitRankConfig");
  find(out.split, "ncclCommSplit");
  find(out.abort, "ncclCommAbort");
  find(out.async_error, "ncclCommGetAsyncError");
  find(out.error_string, "ncclGetErrorString");
  find(out.last_error, "ncclGetLastError");
  find(out.group_start, "ncclGroupStart");
  find(out.group_end, "ncclGroupEnd");
  find(out.reduce, "ncclReduce");
  find(out.broadcast, "ncclBroadcast");
  find(out.send, "ncclSend");
  find(out.receive, "ncclRecv");
  if (!out.why.empty()) return out;
  if (out.get_version(&out.version) != ncclSuccess || out.version < least_version) {
    out.why = "found NCCL " + nccl_version(out.version) + ", wanted " + nccl_version(least_version) + " or newer";
  }
  return out;
}

}  // namespace

const NcclLibrary& nccl() {
  static const NcclLibrary library = load();
  return library;
}

std::string nccl_version(int number) {
  return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." +
         std::to_string(number % 100);
}

}  // namespace troupe::runtime
