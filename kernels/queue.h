// Where operators run: a queue is a first-in first-out lane of work on a pool of threads, or on a
// stream of the GPU. An actor owns one queue; its handlers enqueue and return.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>

#include "kernels/arithmetic.h"
#include "kernels/tensor.h"

struct CUstream_st;

namespace troupe::kernels {

namespace cuda {
struct Fault;
class Mark;
}

/// A place in the stream of a queue on the GPU that others wait for; null: there is nothing to wait for.
using MarkPtr = std::shared_ptr<const cuda::Mark>;

/// Where an operation of a GPU queue is launched.
struct GpuLane {
  CUstream_st* stream;
  cuda::Fault* fault;  ///< gets the first number that leads a kernel outside its tensors
};

/// The threads that compute: `cluster.threads` of them, shared by every queue of a process.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  int threads() const;

 private:
  friend class Queue;
  struct State;
  std::unique_ptr<State> state_;
};

/// A lane of operations in order. The parts of one operation run in parallel; the next operation
/// begins when all of them have ended. Results never depend on how parts meet threads (law 1).
///
/// After a part has thrown, the operations behind it are skipped; `then` callbacks still run and
/// get the exception, and `wait` throws it and clears it. An operation has ended when its closure
/// is gone, so a closure must not hold the last reference to its own queue.
///
/// A queue on the GPU has a stream of its own besides. What is launched there ends when the stream
/// has passed it: before that neither does a part or callback behind it begin, nor does its closure
/// go. So the order is the same, and so is the meaning of `then`, `wait`, `recover` and `cancel`.
/// A fault that kernels find is thrown where the host next meets the stream; operations launched
/// between have run, on numbers that nobody may use.
class Queue {
 public:
  using Part = std::function<void(int64_t part)>;
  using Callback = std::function<void(std::exception_ptr error)>;

  using Launch = std::function<void(const GpuLane& lane)>;

  /// On the GPU (cuda) or not (cpu). Throws KernelError where there is no GPU, and if the arithmetic
  /// is not of the device.
  explicit Queue(ThreadPool& pool, Device device = Device::cpu,
                 Arithmetic arithmetic = Arithmetic::cpu);
  /// On the threads of another queue.
  Queue(const Queue& neighbour, Device device, Arithmetic arithmetic = Arithmetic::cpu);
  ~Queue();  ///< waits for the work enqueued
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  Device device() const { return device_; }
  bool is_cuda() const { return device_ == Device::cuda; }
  Arithmetic arithmetic() const { return arithmetic_; }
  int threads() const;

  /// Another process waits for what this lane makes: from now on it is taken before other lanes of the pool, and
  /// callbacks, which tell who waits, before work.
  void go_first();

  /// Enqueues an operation of `parts` independent parts (0: nothing happens).
  void run(int64_t parts, Part part);

  /// Enqueues what `launch`, called on a pool thread, puts into the stream. Of a queue on the GPU
  /// alone.
  void launch(Launch launch);

  /// Calls `callback` on a pool thread when everything enqueued before has ended.
  void then(Callback callback);

  /// Of a queue on the GPU: calls `hand_on` on a pool thread when everything enqueued before has been launched,
  /// though it may not have ended, with a mark behind it. After an error it is skipped: see on_error.
  void hand_on(std::function<void(MarkPtr mark)> hand_on);

  /// What is enqueued from here on begins when the GPU has passed the mark of another queue of this process.
  void wait_for(MarkPtr mark);

  /// Calls `callback` on a pool thread with every error that is found from here on, at once: who hands on waits for
  /// none. Replaces the one before, whose errors those of operations before this are.
  void on_error(Callback callback);

  /// Operations enqueued from here on run again, whatever one before this has thrown.
  void recover();

  /// Blocks until everything enqueued has ended. Not from a pool thread.
  void wait();

  /// Drops operations that have not begun (callbacks run, with `reason`), and waits for the rest.
  void cancel(std::exception_ptr reason);

 private:
  friend class ThreadPool;
  struct Lane;
  Queue(ThreadPool::State& pool, Device device, Arithmetic arithmetic);
  void fence();
  ThreadPool::State& pool_;
  const Device device_;
  const Arithmetic arithmetic_;
  std::unique_ptr<Lane> lane_;
};

/// How many parts an operation of `items` equal items, each of about `cost` elementary operations,
/// is worth: parts of at least ~50 microseconds, at most four a thread.
int64_t part_count(const Queue& queue, int64_t items, int64_t cost);

/// First and one-past-last item of part `part` of `parts`.
struct Range {
  int64_t begin;
  int64_t end;
};
Range part_range(int64_t items, int64_t parts, int64_t part);

}  // namespace troupe::kernels
