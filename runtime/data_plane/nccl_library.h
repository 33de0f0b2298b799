// NCCL's functions, found when they are first wanted: a process without a GPU starts where there is no libnccl.
#pragma once

#include <nccl.h>

#include <string>

namespace troupe::runtime {

struct NcclLibrary {
  decltype(&ncclGetVersion) get_version;
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) init;
  decltype(&ncclCommSplit) split;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclGetErrorString) error_string;
  decltype(&ncclGetLastError) last_error;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclReduce) reduce;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) receive;

  int version;      ///< 22809: 2.28.9
  std::string why;  ///< why there is none; else empty
};

/// Loaded once: libnccl.so.2 as the process finds it, else the one that the build was made with.
const NcclLibrary& nccl();

/// "2.28.9".
std::string nccl_version(int number);

}  // namespace troupe::runtime
