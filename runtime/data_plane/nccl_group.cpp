#include "runtime/data_plane/nccl_group.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace troupe::runtime {

using kernels::Tensor;

namespace {

/// Blocks of a GPU that a communicator may keep busy: of 132, so that others go on computing.
constexpr int most_blocks = 16;
constexpr std::chrono::microseconds looks_for{300};  // before it sleeps between looks
constexpr std::chrono::microseconds sleeps_for{50};

ncclConfig_t config_of_communicators() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.maxCTAs = most_blocks;
  config.splitShare = 1;
  return config;
}

size_t bytes_of(const Tensor& tensor) {
  return static_cast<size_t>(tensor.count() * kernels::size_of(tensor.dtype));
}

}  // namespace

std::vector<std::vector<int>> rounds_of_circles(const std::vector<std::vector<int>>& circles) {
  std::vector<std::vector<int>> rounds;
  std::vector<std::vector<int>> taken;  // ranks of each round
  for (size_t i = 0; i < circles.size(); ++i) {
    size_t round = 0;
    const auto is_free = [&](int rank) { return std::ranges::find(taken[round], rank) == taken[round].end(); };
    while (round < rounds.size() && !std::ranges::all_of(circles[i], is_free)) ++round;
    if (round == rounds.size()) {
      rounds.emplace_back();
      taken.emplace_back();
    }
    rounds[round].push_back(static_cast<int>(i));
    taken[round].insert(taken[round].end(), circles[i].begin(), circles[i].end());
  }
  return rounds;
}

std::unique_ptr<DeviceGroup> make_nccl_group(const GroupOptions& options) {
  if (const std::string why = why_no_nccl(); !why.empty()) throw DataPlaneError(why);
  return std::make_unique<NcclGroup>(options);
}

std::string new_nccl_id() {
  if (const std::string why = why_no_nccl(); !why.empty()) throw DataPlaneError(why);
  ncclUniqueId id;
  if (const ncclResult_t result = nccl().get_unique_id(&id); result != ncclSuccess) {
    throw DataPlaneError(std::string("NCCL has no address for a new group: ") + nccl().error_string(result));
  }
  return {id.internal, sizeof id.internal};
}

std::string why_no_nccl() { return nccl().why; }

NcclGroup::NcclGroup(const GroupOptions& options) : options_(options) {
  if (options.id.size() != sizeof(ncclUniqueId)) {
    throw DataPlaneError("found an id of a group of " + std::to_string(options.id.size()) + " bytes, wanted " +
                         std::to_string(sizeof(ncclUniqueId)));
  }
  for (const std::vector<int>& members : options.circles) circles_.push_back({members});
  thread_ = std::thread([this] { live(); });
}

NcclGroup::~NcclGroup() {
  {
    std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::string NcclGroup::describe() const {
  return "nccl " + nccl_version(nccl().version) + ", " + std::to_string(options_.ranks) +
         (options_.ranks == 1 ? " rank" : " ranks");
}

void NcclGroup::sum(int number, std::vector<GroupPart> parts, Deadline deadline, Done done) {
  for (const GroupPart& part : parts) {
    if (part.tensor.dtype == kernels::DType::i64) continue;
    throw DataPlaneError("a group's sum of " + std::string(kernels::to_string(part.tensor.dtype)) + ", wanted i64");
  }
  const auto put = [this, number, parts = std::move(parts)] {
    const Circle& of = circle(number);
    for (const auto& [tensor, root] : parts) {
      if (tensor.count() == 0) continue;
      expect(nccl().reduce(tensor.data, tensor.data, static_cast<size_t>(tensor.count()), ncclInt64, ncclSum,
                           rank_in(of, root), of.communicator, stream_->handle()),
             "sums");
    }
    return of.communicator;
  };
  enqueue({"sums", deadline, put, std::move(done)});
}

void NcclGroup::hand_out(int number, std::vector<GroupPart> parts, Deadline deadline, Done done) {
  const auto put = [this, number, parts = std::move(parts)] {
    const Circle& of = circle(number);
    for (const auto& [tensor, root] : parts) {
      if (tensor.count() == 0) continue;
      expect(nccl().broadcast(tensor.data, tensor.data, bytes_of(tensor), ncclInt8, rank_in(of, root),
                              of.communicator, stream_->handle()),
             "tensors of their owners");
    }
    return of.communicator;
  };
  enqueue({"tensors of their owners", deadline, put, std::move(done)});
}

void NcclGroup::exchange(std::vector<GroupSlice> sends, std::vector<GroupSlice> gets, Deadline deadline, Done done) {
  const auto put = [this, sends = std::move(sends), gets = std::move(gets)] {
    for (const auto& [tensor, peer] : sends) {
      if (tensor.count() == 0) continue;
      expect(nccl().send(tensor.data, bytes_of(tensor), ncclInt8, peer, communicator_, stream_->handle()), "slices");
    }
    for (const auto& [tensor, peer] : gets) {
      if (tensor.count() == 0) continue;
      expect(nccl().receive(tensor.data, bytes_of(tensor), ncclInt8, peer, communicator_, stream_->handle()), "slices");
    }
    return communicator_;
  };
  enqueue({"slices", deadline, put, std::move(done)});
}

void NcclGroup::enqueue(Task task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_all();
}

void NcclGroup::live() {
  const auto attempt = [this](auto f) {
    if (!failure_.empty()) return;
    try {
      f();
    } catch (const std::exception& e) {
      failure_ = e.what();
      give_up();
    }
  };
  attempt([this] { make(); });
  while (true) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_ending_ || !tasks_.empty(); });
    if (is_ending_) break;
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    attempt([&] { play(task); });
    if (!is_ending_ && task.done) task.done(failure_);
  }
  give_up();
}

void NcclGroup::make() {
  const auto until = Clock::now() + options_.deadline;
  kernels::cuda::open();
  stream_.emplace();
  ncclUniqueId id;
  std::memcpy(id.internal, options_.id.data(), sizeof id.internal);
  ncclConfig_t config = config_of_communicators();
  const ncclResult_t result = nccl().init(&communicator_, options_.ranks, id, options_.rank, &config);
  expect(result, "members");
  settle(communicator_, "members", until);
  for (const std::vector<int>& round : rounds_of_circles(options_.circles)) split(round, until);
}

/// A circle of all ranks is the group itself; of the others every rank makes its own, or says that it has none.
void NcclGroup::split(const std::vector<int>& round, Clock::time_point until) {
  const auto is_of = [](const Circle& circle, int rank) {
    return std::ranges::find(circle.members, rank) != circle.members.end();
  };
  int color = NCCL_SPLIT_NOCOLOR;
  for (const int number : round) {
    Circle& one = circles_[static_cast<size_t>(number)];
    if (one.members.size() == static_cast<size_t>(options_.ranks)) {
      one.communicator = communicator_;
      return;
    }
    if (is_of(one, options_.rank)) color = number;
  }
  ncclConfig_t config = config_of_communicators();
  expect(nccl().split(communicator_, color, options_.rank, &splitting_, &config), "circles");
  settle(communicator_, "circles", until);
  const ncclComm_t made = std::exchange(splitting_, nullptr);
  if (color == NCCL_SPLIT_NOCOLOR) return;
  Circle& own = circles_[static_cast<size_t>(color)];
  own.communicator = made;
  own.is_split = true;
  settle(made, "circles", until);
}

/// Calls of NCCL that begin together. However it ends it is closed: what gives the communicators up would wait for it.
class NcclGroup::OpenGroup {
 public:
  OpenGroup(const NcclGroup& group, const char* what) : group_(group), what_(what) {
    group_.expect(nccl().group_start(), what_);
  }
  ~OpenGroup() {
    if (is_open_) nccl().group_end();
  }
  OpenGroup(const OpenGroup&) = delete;
  OpenGroup& operator=(const OpenGroup&) = delete;
  void close() {
    is_open_ = false;
    group_.expect(nccl().group_end(), what_);
  }

 private:
  const NcclGroup& group_;
  const char* what_;
  bool is_open_ = true;
};

void NcclGroup::play(const Task& task) {
  const auto until = Clock::now() + task.deadline;
  ncclComm_t used = nullptr;
  {
    OpenGroup open(*this, task.what);
    used = task.put();
    open.close();
  }
  settle(used, task.what, until);
  stream_->mark();
  const auto is_over = [&] {
    ncclResult_t state = ncclSuccess;
    expect(nccl().async_error(used, &state), task.what);
    expect(state, task.what);
    return stream_->has_passed_mark();
  };
  wait_until(is_over, task.what, until);
}

/// Kernels that wait for who is lost end, and communicators are gone. One that is being split ends that first, and
/// what it has made of it by then stays NCCL's.
void NcclGroup::give_up() {
  const auto end = [](ncclComm_t& communicator) {
    if (communicator != nullptr) nccl().abort(std::exchange(communicator, nullptr));
  };
  for (Circle& one : circles_) {
    if (one.is_split) end(one.communicator);
    one.communicator = nullptr;
  }
  end(communicator_);
  splitting_ = nullptr;
  if (stream_) wait_for_kernels();
  stream_.reset();
}

/// Whoever gives a group up uses its tensors for something else.
void NcclGroup::wait_for_kernels() {
  try {
    stream_->mark();
    while (!stream_->has_passed_mark()) std::this_thread::yield();
  } catch (const std::exception&) {  // of a GPU that computes nothing any more
  }
}

const NcclGroup::Circle& NcclGroup::circle(int number) const {
  const Circle& out = circles_.at(static_cast<size_t>(number));
  if (out.communicator == nullptr) {
    throw DataPlaneError("rank " + std::to_string(options_.rank) + " is none of circle " + std::to_string(number) +
                         " of its group");
  }
  return out;
}

int NcclGroup::rank_in(const Circle& circle, int rank) const {
  const auto found = std::ranges::find(circle.members, rank);
  if (found == circle.members.end()) {
    throw DataPlaneError("rank " + std::to_string(rank) + " is none of a circle of " +
                         std::to_string(circle.members.size()));
  }
  return static_cast<int>(found - circle.members.begin());
}

void NcclGroup::expect(ncclResult_t result, const char* what) const {
  if (result == ncclSuccess || result == ncclInProgress) return;
  std::string why = nccl().error_string(result);
  if (const char* more = nccl().last_error(nullptr); more != nullptr && *more != '\0') why += std::string(": ") + more;
  fail(what, why);
}

void NcclGroup::settle(ncclComm_t communicator, const char* what, Clock::time_point until) {
  ncclResult_t state = ncclInProgress;
  const auto is_over = [&] {
    expect(nccl().async_error(communicator, &state), what);
    expect(state, what);
    return state == ncclSuccess;
  };
  wait_until(is_over, what, until);
}

template <class IsOver>
void NcclGroup::wait_until(IsOver is_over, const char* what, Clock::time_point until) {
  for (const auto since = Clock::now(); !is_over();) {
    const auto now = Clock::now();
    if (is_ending_) fail(what, "it is given up");
    if (now >= until) fail(what, "not here by the deadline: a member is lost, or late");
    if (now - since < looks_for) {
      std::this_thread::yield();
      continue;
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, sleeps_for, [this] { return is_ending_.load(); });
  }
}

void NcclGroup::fail(const char* what, const std::string& why) const {
  throw DataPlaneError(std::string(what) + " of a group of " + std::to_string(options_.ranks) + " by NCCL " +
                       nccl_version(nccl().version) + ": " + why);
}

}  // namespace troupe::runtime
