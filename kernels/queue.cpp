#include "kernels/queue.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cuda/device/device.h"
#include "kernels/profile.h"
#include "kernels/ready_lanes.h"

namespace troupe::kernels {
namespace {

/// An operation of the host or a launch, or a callback (of the latter two `parts` is 1).
struct Operation {
  int64_t parts;
  Queue::Part part;
  Queue::Callback callback;
  Queue::Launch launch = nullptr;
  const char* name = "";
  bool forgets_error = false;
  int64_t taken = 0;
  int64_t ended = 0;
};

/// How often an idle thread looks for work before it sleeps: about 10 microseconds, the time that
/// an actor needs to answer a completion with the next operation.
constexpr int idle_spins = 200;
/// With queues on the GPU some threads look longer, some milliseconds: what they launch takes less
/// than to be woken, and the GPU waits for it.
constexpr int launcher_spins = 100'000;
constexpr int usual_launchers = 2;
constexpr int threads_a_launcher = 4;  // where there are fewer, cores are dear

inline void relax() { __builtin_ia32_pause(); }

/// The pool that this thread works for.
thread_local const void* own_pool = nullptr;

}  // namespace

/// Everything is guarded by the pool's mutex, which is held for tens of nanoseconds an operation.
struct Queue::Lane {
  std::deque<Operation> operations;  // the front one is under way
  std::exception_ptr error;
  bool goes_first = false;
  bool has_thread() const { return operations.front().taken > operations.front().ended; }
  Queue::Callback on_error;

  // On the GPU:
  std::unique_ptr<cuda::Stream> stream;
  bool is_in_flight = false;        // something launched may not have ended
  std::vector<Operation> launched;  // whose closures hold what kernels use

  void launch(const Operation& operation) {
    cuda::use_gpu();
    const auto start = [&] { operation.launch({stream->handle(), stream->fault()}); };
    if (!is_profiling()) return start();
    add_operator_time(operation.name, stream->time(start));  // one after the other
  }
};

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable work;
  std::condition_variable idle;     // some lane has become empty
  using Ready = ReadyLanes<Queue::Lane>;
  Ready ready;
  std::atomic<int64_t> listings{0};  // counts entries into `ready`: what spinning threads look at
  int sleepers = 0;
  int launchers = 0;       // threads that look longer
  int most_launchers = 0;  // set before there are threads
  bool stopping = false;
  bool has_urgent_lanes = false;  // has had one that goes first
  std::vector<std::thread> threads;

  // Lanes whose front operation is the host's and waits for the stream. One thread looks after them:
  // the driver's own callbacks do not come when the GPU has failed.
  std::vector<Queue::Lane*> watched;
  std::condition_variable watch;
  std::thread watcher;  // started with the first queue on the GPU

  void push(Queue::Lane& lane, Operation operation) {
    lane.operations.push_back(std::move(operation));
    if (lane.operations.size() == 1) list(lane);
  }
  /// A thread of the pool comes back for work soon, so from it the first lane needs no other.
  void list(Queue::Lane& lane) {
    if (lane.is_in_flight && !lane.operations.front().launch) {
      watched.push_back(&lane);
      watch.notify_one();
      return;
    }
    const bool tells = has_urgent_lanes && lane.operations.front().callback;
    ready.add(lane, tells             ? Ready::callbacks_that_tell_others
                    : lane.goes_first ? Ready::lanes_that_go_first
                                      : Ready::usual);
    listings.fetch_add(1, std::memory_order_release);
    const size_t comers = static_cast<size_t>(launchers) + (own_pool == this ? 1 : 0);
    if (sleepers > 0 && ready.size() > comers) work.notify_one();
  }

  void work_loop();
  void watch_loop();
  void passed(std::unique_lock<std::mutex>& lock, Queue::Lane& lane, std::exception_ptr error);
  bool take(std::unique_lock<std::mutex>& lock, Ready::Thread& thread, Queue::Lane*& lane, int64_t& part);
  void found(std::unique_lock<std::mutex>& lock, Queue::Lane& lane, std::exception_ptr error);
  void run_part(std::unique_lock<std::mutex>& lock, Queue::Lane& lane, int64_t part);
};

/// Waits for a lane with a part to take. False when the pool stops.
bool ThreadPool::State::take(std::unique_lock<std::mutex>& lock, Ready::Thread& thread, Queue::Lane*& lane,
                             int64_t& part) {
  while (ready.empty()) {
    if (stopping) return false;
    const int64_t seen = listings.load(std::memory_order_relaxed);
    const bool is_launcher = watcher.joinable() && launchers < most_launchers;
    launchers += is_launcher;
    const int spins = is_launcher ? launcher_spins : idle_spins;
    lock.unlock();
    for (int i = 0; i < spins && listings.load(std::memory_order_acquire) == seen; ++i) relax();
    lock.lock();
    launchers -= is_launcher;
    const bool came_late = is_launcher && listings.load(std::memory_order_relaxed) != seen;
    if (!ready.empty() || stopping || came_late) continue;
    ++sleepers;
    work.wait(lock, [this] { return !ready.empty() || stopping; });
    --sleepers;
  }
  lane = &ready.choose(thread);
  Operation& operation = lane->operations.front();
  part = operation.taken++;
  if (operation.taken == operation.parts) {
    ready.remove(*lane);
  } else if (sleepers > 0) {
    work.notify_one();
  }
  return true;
}

/// The lane's first error.
void ThreadPool::State::found(std::unique_lock<std::mutex>& lock, Queue::Lane& lane, std::exception_ptr error) {
  lane.error = error;
  if (!lane.on_error) return;
  const Queue::Callback tell = lane.on_error;
  lock.unlock();
  tell(error);
  lock.lock();
}

void ThreadPool::State::run_part(std::unique_lock<std::mutex>& lock, Queue::Lane& lane,
                                 int64_t part) {
  Operation& operation = lane.operations.front();
  const std::exception_ptr before = lane.error;
  lock.unlock();
  std::exception_ptr thrown;
  try {
    if (operation.callback) {
      operation.callback(before);
    } else if (before) {
      // skipped
    } else if (operation.launch) {
      lane.launch(operation);
    } else {
      const BusyPart timed(operation.name);
      operation.part(part);
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  lock.lock();
  if (thrown && !lane.error) found(lock, lane, thrown);
  if (operation.forgets_error) lane.error = nullptr;
  if (++operation.ended < operation.parts) return;
  if (operation.launch) {
    if (!before) lane.is_in_flight = true;  // even one that threw may have launched something
    // What is skipped may hold what kernels before it use.
    if (lane.is_in_flight) lane.launched.push_back(std::move(operation));
  }
  // Closures are destroyed outside the lock, for they may hold the last reference to memory, and
  // before the operation has ended: who waits for it may free what a closure's destructor touches.
  Operation done = std::move(operation);
  lock.unlock();
  done = Operation{};
  lock.lock();
  lane.operations.pop_front();
  if (lane.operations.empty()) {
    idle.notify_all();
  } else {
    list(lane);
  }
}

/// The stream of a watched lane has ended its work: the lane goes on.
void ThreadPool::State::passed(std::unique_lock<std::mutex>& lock, Queue::Lane& lane,
                               std::exception_ptr error) {
  std::vector<Operation> ended = std::exchange(lane.launched, {});
  lock.unlock();
  ended.clear();
  lock.lock();
  if (error && !lane.error) found(lock, lane, error);
  lane.is_in_flight = false;
  list(lane);
}

void ThreadPool::State::watch_loop() {
  std::unique_lock lock(mutex);
  std::vector<Queue::Lane*> marked;
  while (true) {
    if (marked.empty()) {
      watch.wait(lock, [this] { return !watched.empty() || stopping; });
      if (watched.empty()) return;
    }
    const std::vector<Queue::Lane*> fresh = std::exchange(watched, {});
    lock.unlock();
    std::vector<std::pair<Queue::Lane*, std::exception_ptr>> ended;
    const auto look = [&](Queue::Lane* lane, auto has_passed) {
      try {
        if (!has_passed(*lane->stream)) return false;
        ended.push_back({lane, nullptr});
      } catch (...) {
        ended.push_back({lane, std::current_exception()});
      }
      return true;
    };
    for (Queue::Lane* lane : fresh) {
      const bool failed = look(lane, [](cuda::Stream& stream) { return stream.mark(), false; });
      if (!failed) marked.push_back(lane);
    }
    std::erase_if(marked, [&](Queue::Lane* lane) {
      return look(lane, [](cuda::Stream& stream) { return stream.has_passed_mark(); });
    });
    if (ended.empty()) std::this_thread::yield();
    lock.lock();
    for (const auto& [lane, error] : ended) passed(lock, *lane, error);
  }
}

void ThreadPool::State::work_loop() {
  own_pool = this;
  std::unique_lock lock(mutex);
  Queue::Lane* lane = nullptr;
  int64_t part = 0;
  Ready::Thread thread;
  while (take(lock, thread, lane, part)) run_part(lock, *lane, part);
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads < 1 || threads > 1024) {
    throw KernelError("a pool of " + std::to_string(threads) + " threads, wanted 1 to 1024");
  }
  state_->most_launchers = std::min(usual_launchers, threads / threads_a_launcher);
  for (int i = 0; i < threads; ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->work_loop(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->work.notify_all();
  state_->watch.notify_all();
  for (auto& thread : state_->threads) thread.join();
  if (state_->watcher.joinable()) state_->watcher.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->threads.size()); }

Queue::Queue(ThreadPool& pool, Device device, Arithmetic arithmetic)
    : Queue(*pool.state_, device, arithmetic) {}

Queue::Queue(const Queue& neighbour, Device device, Arithmetic arithmetic)
    : Queue(neighbour.pool_, device, arithmetic) {}

Queue::Queue(ThreadPool::State& pool, Device device, Arithmetic arithmetic)
    : pool_(pool), device_(device), arithmetic_(arithmetic), lane_(std::make_unique<Lane>()) {
  if (arithmetic == Arithmetic::sm_90a && device != Device::cuda) {
    throw KernelError(std::string("a queue of arithmetic sm_90a on ") + to_string(device) +
                      ", wanted cuda");
  }
  if (device == Device::cpu) return;
  if (device != Device::cuda) {
    throw KernelError(std::string("a queue on ") + to_string(device) + ", wanted cpu or cuda");
  }
  lane_->stream = std::make_unique<cuda::Stream>();
  std::lock_guard lock(pool_.mutex);
  if (!pool_.watcher.joinable()) {
    pool_.watcher = std::thread([state = &pool_] { state->watch_loop(); });
  }
}

Queue::~Queue() {
  std::unique_lock lock(pool_.mutex);
  fence();
  pool_.idle.wait(lock, [this] { return lane_->operations.empty(); });
}

void Queue::go_first() {
  std::lock_guard lock(pool_.mutex);
  lane_->goes_first = true;
  pool_.has_urgent_lanes = true;
}

int Queue::threads() const { return static_cast<int>(pool_.threads.size()); }

void Queue::run(int64_t parts, Part part) {
  if (parts <= 0) return;
  std::lock_guard lock(pool_.mutex);
  pool_.push(*lane_, {.parts = parts, .part = std::move(part), .callback = nullptr, .name = OperatorLabel::current()});
}

void Queue::launch(Launch launch) {
  if (!is_cuda()) throw KernelError("a launch in a queue on the CPU, wanted one on the GPU");
  std::lock_guard lock(pool_.mutex);
  pool_.push(*lane_, {.parts = 1, .part = nullptr, .callback = nullptr,
                      .launch = std::move(launch), .name = OperatorLabel::current()});
}

/// The lane is empty only when the stream has passed what has been launched. Under the lock.
void Queue::fence() {
  if (!is_cuda() || (lane_->operations.empty() && !lane_->is_in_flight)) return;
  pool_.push(*lane_, {.parts = 1, .part = nullptr, .callback = [](std::exception_ptr) {}, .name = "fence"});
}

void Queue::then(Callback callback) {
  std::lock_guard lock(pool_.mutex);
  pool_.push(*lane_, {.parts = 1, .part = nullptr, .callback = std::move(callback), .name = "callback"});
}

void Queue::hand_on(std::function<void(MarkPtr mark)> hand_on) {
  launch([stream = lane_->stream.get(), f = std::move(hand_on)](const GpuLane&) { f(stream->place_mark()); });
}

void Queue::wait_for(MarkPtr mark) {
  if (mark) launch([stream = lane_->stream.get(), mark](const GpuLane&) { stream->wait_for(*mark); });
}

void Queue::on_error(Callback callback) {
  then([this, callback = std::move(callback)](std::exception_ptr) {
    std::lock_guard lock(pool_.mutex);
    lane_->on_error = callback;
  });
}

void Queue::recover() {
  std::lock_guard lock(pool_.mutex);
  pool_.push(*lane_, {.parts = 1, .part = nullptr, .callback = [](std::exception_ptr) {},
                      .name = "recover", .forgets_error = true});
}

void Queue::wait() {
  std::unique_lock lock(pool_.mutex);
  fence();
  pool_.idle.wait(lock, [this] { return lane_->operations.empty(); });
  if (std::exception_ptr error = std::exchange(lane_->error, nullptr)) std::rethrow_exception(error);
}

void Queue::cancel(std::exception_ptr reason) {
  std::unique_lock lock(pool_.mutex);
  if (!lane_->operations.empty() && !lane_->error) lane_->error = reason;
  fence();
  pool_.idle.wait(lock, [this] { return lane_->operations.empty(); });
  lane_->error = nullptr;
}

int64_t part_count(const Queue& queue, int64_t items, int64_t cost) {
  constexpr int64_t worthwhile = 400'000;  // elementary operations: about 50 microseconds
  if (items <= 1 || queue.threads() == 1) return std::min<int64_t>(items, 1);
  const int64_t by_cost = std::max<int64_t>(1, items * cost / worthwhile);
  return std::min({items, by_cost, int64_t{4} * queue.threads()});
}

Range part_range(int64_t items, int64_t parts, int64_t part) {
  return {items * part / parts, items * (part + 1) / parts};
}

}  // namespace troupe::kernels
