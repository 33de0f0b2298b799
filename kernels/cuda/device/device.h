// The GPU of this process: memory, streams and what can go wrong there. Compiled by nvcc where CUDA
// is; elsewhere no_cuda.cpp has the same symbols. A process uses one GPU: of those that it sees, the
// first that the fewest processes of this machine have (gpu_claim.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

struct CUstream_st;
struct CUevent_st;

namespace troupe::kernels::cuda {

/// A call of the GPU that failed. `is_lost`: every later one fails as well (an illegal access, an
/// error of the hardware), so that only the end of the process helps.
class DeviceError : public std::runtime_error {
 public:
  DeviceError(const std::string& what, bool lost) : std::runtime_error(what), is_lost_(lost) {}
  bool is_lost() const { return is_lost_; }

 private:
  bool is_lost_;
};

/// Why this process cannot compute on a GPU: no CUDA in the build, no driver, no device, or one of
/// another architecture. Empty: it can.
std::string why_no_gpu();

/// "NVIDIA H200, 132 multiprocessors, 139.8 GiB": the one of this process, or the first before it is open.
std::string describe_gpu();

/// Whether a queue of this process has been on the GPU. Then shared buffers are pinned.
bool is_open();
/// Chooses the GPU of this process, once, and makes it that of the calling thread. Throws KernelError,
/// with why_no_gpu(), if there is none.
void open();
/// Makes the process's GPU that of the calling thread, as CUDA wants it of each that launches, allocates or
/// copies; what is declared here does so itself. Nothing happens before open().
void use_gpu();

/// Null where there is no room. Memory of the GPU, and memory of the host that both reach.
void* allocate_device(size_t bytes);
void free_device(void* memory);
void* allocate_pinned(size_t bytes);
void free_pinned(void* memory);

/// Copies between any two places, or zeroes one, and waits for it; on no queue's stream. Throws
/// DeviceError.
void copy_bytes(void* to, const void* from, size_t bytes);
void zero_bytes(void* to, size_t bytes);

/// A number that a kernel found in its tensors and that leads outside: which operator, where, what
/// and what was wanted. The first one of a stream is kept.
enum class FaultName : uint32_t {
  none,
  embed,
  embed_backward_weights,
  cross_entropy,
  cross_entropy_backward,
  gather_rows,
  combine_rows_source,
  combine_rows_row,
  combine_rows_group,
  rope,
  route_tokens_backward,
  balance_loss,
  count_experts,
  sort_rows,
};
struct Fault {
  FaultName name;
  int64_t row;
  int64_t value;
  int64_t least, most;  ///< wanted
};

/// A place in a stream that others wait for.
class Mark {
 public:
  explicit Mark(CUstream_st* stream);  ///< behind what has been launched there; throws DeviceError
  ~Mark();
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;
  CUevent_st* event() const { return event_; }

 private:
  CUevent_st* event_ = nullptr;
};

/// A stream of work and one mark in it that the host waits for.
class Stream {
 public:
  Stream();  ///< throws KernelError if there is no GPU, DeviceError if it gives none
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Where to launch; the thread has called use_gpu().
  CUstream_st* handle() const { return stream_; }
  Fault* fault() const { return fault_; }

  /// Marks what has been launched so far.
  void mark();
  /// Whether all of that has ended. Throws KernelError if one of its kernels found a fault, and
  /// DeviceError if the GPU failed.
  bool has_passed_mark();

  /// A mark behind what has been launched so far, for other streams of this process.
  std::shared_ptr<const Mark> place_mark();
  /// What is launched from here on begins when the GPU has passed the mark. Throws DeviceError.
  void wait_for(const Mark& mark);

  /// Seconds that the GPU needs for what `launch` puts into the stream; waits for it.
  double time(const std::function<void()>& launch);

 private:
  CUstream_st* stream_ = nullptr;
  CUevent_st* begin_ = nullptr;  // both for `time`, made when it is first called
  CUevent_st* end_ = nullptr;
  CUevent_st* mark_ = nullptr;
  Fault* fault_ = nullptr;  // pinned
};

}  // namespace troupe::kernels::cuda
