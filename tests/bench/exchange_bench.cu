// Dispatch and combine between two GPUs of this machine, beside NCCL's exchange of the same rows expanded (one for
// each expert), and beside a copy by the driver. Both GPUs begin together behind a flush of L2; a round counts the
// slower one; figures are medians. Usage: exchange_bench [ROUNDS] [JSON FILE]
#include <nccl.h>

#include <algorithm>

#include "kernels/cuda/exchange/meeting.cuh"
#include "tests/bench/sm90_bench.cuh"
#include "tests/kernels/cuda/exchange/exchange_case.h"

namespace troupe::tests {
namespace {

constexpr int gpus = 2;

void check_nccl(ncclResult_t result, const char* what) {
  if (result == ncclSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, ncclGetErrorString(result));
  std::exit(1);
}

/// Both GPUs begin what is behind it at about the same time.
__global__ void meet(uint64_t* own, uint64_t* other, uint64_t round) {
  kernels::cuda::store_release(other, round);
  while (kernels::cuda::load_acquire(own) < round) {
  }
}

/// What a GPU has besides its rank.
struct Gpu {
  explicit Gpu(int number, const ExchangeShape& shape) : rank(shape, number), met(1), rows(0), from(0) {
    check_cuda(cudaMemset(met.data(), 0, 8), "memory");
    check_cuda(cudaEventCreate(&begin), "event");
    check_cuda(cudaEventCreate(&end), "event");
    flush = std::make_unique<Flush>();
  }
  ExchangeRank rank;
  Device<uint64_t> met;
  std::unique_ptr<Flush> flush;
  cudaEvent_t begin = nullptr, end = nullptr;
  ncclComm_t comm = nullptr;
  int64_t rows, from;  ///< expanded rows to the other, and from it
  std::unique_ptr<Device<char>> out, in;
};

using Run = std::function<void(int gpu)>;
struct Way {
  std::string name;
  Run run;
  double bytes;  ///< to the other GPU, the more of the two
};

class Bench {
 public:
  Bench(const ExchangeShape& shape, int64_t tokens, int rounds) : shape_(shape), rounds_(rounds) {
    for (int g = 0; g < gpus; ++g) {
      check_cuda(cudaSetDevice(g), "device");
      if (cudaDeviceEnablePeerAccess(1 - g, 0) == cudaErrorPeerAccessAlreadyEnabled) cudaGetLastError();
      gpus_.push_back(std::make_unique<Gpu>(g, shape));
      workers_.push_back(make_tokens(shape, tokens, Routing::even, static_cast<uint64_t>(g) + 11));
    }
    const int per_rank = shape.experts / gpus;
    for (int g = 0; g < gpus; ++g) {
      gpu(g).rank.set_tokens(workers_[static_cast<size_t>(g)]);
      for (int s = 0; s < gpus; ++s) gpu(g).rank.set_answers(s, g, workers_[static_cast<size_t>(s)], s);
      const auto rows = rows_of_experts(shape, workers_[static_cast<size_t>(g)], (1 - g) * per_rank, per_rank);
      gpu(g).rows = static_cast<int64_t>(rows.size());
    }
    ncclComm_t comms[gpus];
    const int devices[gpus] = {0, 1};
    check_nccl(ncclCommInitAll(comms, gpus, devices), "ncclCommInitAll");
    for (int g = 0; g < gpus; ++g) {
      Gpu& x = gpu(g);
      x.comm = comms[g];
      x.from = gpu(1 - g).rows;
      check_cuda(cudaSetDevice(g), "device");
      x.out = std::make_unique<Device<char>>(std::max(x.rows, x.from) * 2 * shape.columns);
      x.in = std::make_unique<Device<char>>(std::max(x.rows, x.from) * 2 * shape.columns);
    }
  }
  ~Bench() {
    for (const auto& x : gpus_) ncclCommDestroy(x->comm);
  }

  /// Median microseconds of each way, one of each a round.
  std::vector<double> measure(const std::vector<Way>& ways) {
    std::vector<std::vector<float>> times(ways.size());
    constexpr int warm_up = 5;
    for (int round = 0; round < rounds_ + warm_up; ++round) {
      for (size_t i = 0; i < ways.size(); ++i) {
        ++met_;
        for (int g = 0; g < gpus; ++g) begin(g);
        if (ways[i].name.starts_with("NCCL")) ncclGroupStart();
        for (int g = 0; g < gpus; ++g) ways[i].run(g);
        if (ways[i].name.starts_with("NCCL")) check_nccl(ncclGroupEnd(), "ncclGroupEnd");
        float slower = 0;
        for (int g = 0; g < gpus; ++g) check_cuda(cudaEventRecord(gpu(g).end, gpu(g).rank.stream), "event");
        for (int g = 0; g < gpus; ++g) {
          check_cuda(cudaSetDevice(g), "device");
          check_cuda(cudaStreamSynchronize(gpu(g).rank.stream), ways[i].name.c_str());
          float milliseconds = 0;
          check_cuda(cudaEventElapsedTime(&milliseconds, gpu(g).begin, gpu(g).end), "time");
          slower = std::max(slower, milliseconds * 1e3f);
        }
        if (round >= warm_up) times[i].push_back(slower);
      }
    }
    std::vector<double> out;
    for (auto& each : times) {
      std::sort(each.begin(), each.end());
      out.push_back(each[each.size() / 2]);
    }
    for (int g = 0; g < gpus; ++g) {
      if (gpu(g).rank.fault() != kernels::cuda::ExchangeFault::none) std::exit((std::puts("a fault"), 1));
      WorkerTokens some = workers_[static_cast<size_t>(g)];
      some.count = std::min<int64_t>(some.count, 64);
      std::vector<float> y = gpu(g).rank.y();
      y.resize(static_cast<size_t>(some.count * shape_.columns));
      if (y != combined(shape_, some, g)) {
        std::exit((std::puts("combine: other bits than the host's"), 1));
      }
    }
    return out;
  }

  std::vector<Way> ways(int remote_blocks, int local_blocks) {
    const auto call = [this, remote_blocks, local_blocks](int g, uint32_t generation) {
      kernels::cuda::ExchangeCall call{};
      call.shape = shape_;
      call.rank = g;
      for (int r = 0; r < gpus; ++r) call.windows[r] = gpu(r).rank.window;
      call.tokens = workers_[static_cast<size_t>(g)].count;
      call.generation = generation;
      call.remote_blocks = remote_blocks;
      call.local_blocks = local_blocks;
      call.patience_ns = 1'000'000'000;
      call.fault = gpu(g).rank.fault_word();
      return call;
    };
    const Run dispatch = [this, call](int g) {
      if (g == 0) ++generation_;
      gpu(g).rank.dispatch(call(g, generation_));
    };
    const Run combine = [this, call](int g) { gpu(g).rank.combine(call(g, generation_)); };
    return {{"dispatch", dispatch, bytes_of_tokens()}, {"combine", combine, bytes_of_sums()}};
  }

  /// NCCL, rows one for each expert; and the driver's copy of as many bytes as `dispatch` has.
  std::vector<Way> peers() {
    const auto exchange = [this](int g, int64_t row_bytes) {
      const Gpu& x = gpu(g);
      swap(g, x.rows * row_bytes, x.from * row_bytes);
    };
    const int64_t row = shape_.row_bytes + shape_.scale_bytes;
    const double rows = static_cast<double>(std::max(gpu(0).rows, gpu(1).rows));
    // Back come the rows that went: as many as have come from the other.
    const Run back = [this](int g) {
      const Gpu& x = gpu(g);
      swap(g, x.from * 2 * shape_.columns, x.rows * 2 * shape_.columns);
    };
    const auto bytes = static_cast<size_t>(bytes_of_tokens());
    const Run copy = [this, bytes](int g) {
      check_cuda(cudaSetDevice(g), "device");
      const Gpu &to = gpu(g), &from = gpu(1 - g);
      check_cuda(cudaMemcpyPeerAsync(to.in->data(), g, from.out->data(), 1 - g, bytes, to.rank.stream), "copy");
    };
    return {{"NCCL dispatch", [exchange, row](int g) { exchange(g, row); }, rows * static_cast<double>(row)},
            {"NCCL combine", back, rows * 2.0 * static_cast<double>(shape_.columns)},
            {"copy", copy, bytes_of_tokens()},
            {"nothing", [](int) {}, 0}};  // what the events themselves take
  }

 private:
  Gpu& gpu(int g) { return *gpus_[static_cast<size_t>(g)]; }

  /// By NCCL: so many bytes to the other GPU, so many from it.
  void swap(int g, int64_t out, int64_t in) {
    Gpu& x = gpu(g);
    const auto count = [](int64_t bytes) { return static_cast<size_t>(bytes); };
    check_nccl(ncclSend(x.out->data(), count(out), ncclChar, 1 - g, x.comm, x.rank.stream), "ncclSend");
    check_nccl(ncclRecv(x.in->data(), count(in), ncclChar, 1 - g, x.comm, x.rank.stream), "ncclRecv");
  }

  void begin(int g) {
    Gpu& x = gpu(g);
    check_cuda(cudaSetDevice(g), "device");
    x.flush->run(x.rank.stream);
    meet<<<1, 1, 0, x.rank.stream>>>(x.met.data(), gpu(1 - g).met.data(), met_);
    check_cuda(cudaEventRecord(x.begin, x.rank.stream), "event");
  }

  template <class Count>
  double bytes_to_other(Count count, int64_t each) const {
    int64_t most = 0;
    for (int g = 0; g < gpus; ++g) {
      const WorkerTokens& tokens = workers_[static_cast<size_t>(g)];
      int64_t sum = 0;
      for (int64_t t = 0; t < tokens.count; ++t) sum += count(tokens.ids.data() + t * shape_.slots, 1 - g);
      most = std::max(most, sum);
    }
    return static_cast<double>(most * each);
  }
  double bytes_of_tokens() const {
    return bytes_to_other([this](const int32_t* ids, int rank) {
      for (int k = 0; k < shape_.slots; ++k) {
        if (ids[k] / (shape_.experts / gpus) == rank) return 1;
      }
      return 0;
    }, shape_.row_bytes + shape_.scale_bytes);
  }
  double bytes_of_sums() const {
    return bytes_to_other([this](const int32_t* ids, int rank) {
      const int per_group = shape_.experts / shape_.groups;
      int groups = 0;
      for (int k = 0; k < shape_.slots; ++k) {
        const bool is_first = k == 0 || ids[k - 1] / per_group != ids[k] / per_group;
        groups += is_first && ids[k] / (shape_.experts / gpus) == rank;
      }
      return groups;
    }, 2 * shape_.columns);
  }

  const ExchangeShape shape_;
  const int rounds_;
  std::vector<std::unique_ptr<Gpu>> gpus_;
  std::vector<WorkerTokens> workers_;
  uint32_t generation_ = 0;
  uint64_t met_ = 0;
};

void run(int rounds, const char* json) {
  FILE* file = json != nullptr ? std::fopen(json, "w") : nullptr;
  cudaDeviceProp device;
  check_cuda(cudaGetDeviceProperties(&device, 0), "device");
  int version = 0;
  ncclGetVersion(&version);
  std::printf("2 x %s, NCCL %d, hidden 7168, top 8 of 256 experts in 8 groups, medians of %d rounds\n",
              device.name, version, rounds);
  std::printf("%6s %6s %7s %-14s %9s %9s %7s %8s\n", "tokens", "groups", "blocks", "", "us", "MB", "GB/s", "x NCCL");
  if (file) {
    std::fprintf(file, "{\"device\": \"%s\", \"nccl\": %d, \"rounds\": %d, \"rows\": [\n", device.name, version,
                 rounds);
  }
  bool is_first = true;
  for (const int64_t tokens : {4096, 128}) {
    for (const int kept : {4, 2}) {
      const ExchangeShape shape{.ranks = gpus, .tokens = tokens, .slots = 8, .experts = 256, .groups = 8,
                                .kept_groups = kept, .columns = 7168, .row_bytes = 7168, .scale_bytes = 224};
      Bench bench(shape, tokens, rounds);
      std::vector<Way> all = bench.peers();
      std::vector<int> blocks(all.size(), 0);
      for (const int remote : {16, 12, 8}) {
        for (Way& way : bench.ways(remote, 132 - remote)) {
          all.push_back(way);
          blocks.push_back(remote);
        }
      }
      const std::vector<double> us = bench.measure(all);
      for (size_t i = 0; i < all.size(); ++i) {
        const double peer = us[all[i].name.ends_with("combine") ? 1 : 0];
        std::printf("%6ld %6d %7d %-14s %9.1f %9.2f %7.0f %8.2f\n", tokens, kept, blocks[i], all[i].name.c_str(), us[i],
                    all[i].bytes * 1e-6, all[i].bytes / us[i] * 1e-3, peer / us[i]);
        if (!file) continue;
        std::fprintf(file,
                     "%s  {\"tokens\": %ld, \"kept_groups\": %d, \"blocks\": %d, \"what\": \"%s\", \"us\": %.2f, "
                     "\"bytes\": %.0f}",
                     is_first ? "" : ",\n", tokens, kept, blocks[i], all[i].name.c_str(), us[i], all[i].bytes);
        is_first = false;
      }
      std::fflush(stdout);
    }
  }
  if (file) {
    std::fprintf(file, "\n ]}\n");
    std::fclose(file);
  }
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  troupe::tests::run(argc > 1 ? std::atoi(argv[1]) : 30, argc > 2 ? argv[2] : nullptr);
  return 0;
}
