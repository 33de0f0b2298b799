// The messages between UCX workers, and what the two files of a worker share of them.
#pragma once

#include "runtime/data_plane/ucx_worker.h"

namespace troupe::runtime {

enum : unsigned { parcel_id = 1, tensor_id, confirm_id, hello_id, goodbye_id };

/// Before confirmations, hellos and goodbyes: who sends.
struct ShortHeader {
  uint64_t plane;
};

/// A tensor that is being fetched from a peer.
struct UcxWorker::Receive {
  UcxWorker* worker;
  TensorHeader header;
  TensorRef memory;
};

}  // namespace troupe::runtime
