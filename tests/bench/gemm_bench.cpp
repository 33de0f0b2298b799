// Speed of the matrix products at the models' shapes, beside the machine's FMA peak and, if the
// machine has it, OpenBLAS. Everything is measured in turns, so that a noisy minute hits all alike.
// Usage: gemm_bench [ROUNDS] [portable|avx2|avx512|avx512_bf16]
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/bench/fma_peak.h"
#include "tests/bench/gemm_work.h"

namespace troupe::tests {
namespace {

using namespace kernels;

/// cblas_sgemm of a library that is looked for at run time.
using Sgemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k,
                       float alpha, const float* a, int lda, const float* b, int ldb, float beta,
                       float* c, int ldc);

struct Peer {
  Sgemm sgemm = nullptr;
  void (*set_threads)(int) = nullptr;
};

Peer find_peer() {
  Peer peer;
  if (void* library = dlopen("libopenblas.so.0", RTLD_NOW)) {
    peer.sgemm = reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
    peer.set_threads = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"));
  }
  return peer;
}

const std::vector<Shape> shapes{
    {"cube 1024", 1024, 1024, 1024, false, false},
    {"cube 1024, b transposed", 1024, 1024, 1024, false, true},
    {"cube 1024, a transposed", 1024, 1024, 1024, true, false},
    {"cube 256, b transposed", 256, 256, 256, false, true},
    {"tiny: attention in", 128, 48, 128, false, true},
    {"tiny: attention out", 128, 128, 64, false, true},
    {"tiny: dense up", 128, 384, 128, false, true},
    {"tiny: dense up, dx", 128, 128, 384, false, false},
    {"tiny: dense up, dw", 384, 128, 128, true, false},
    {"tiny: head", 128, 1024, 128, false, true},
    {"tiny: head, dw", 1024, 128, 128, true, false},
    {"tiny: 16 experts", 512, 64, 128, false, true, 16},
    {"tiny: 16 experts, dx", 512, 128, 64, false, false, 16},
    {"tiny: 16 experts, dw", 64, 128, 512, true, false, 16},
    {"small: attention in", 512, 192, 384, false, true},
    {"small: dense up", 512, 1024, 384, false, true},
    {"small: dense up, dx", 512, 384, 1024, false, false},
    {"small: dense up, dw", 1024, 384, 512, true, false},
    {"small: 32 experts", 2048, 96, 384, false, true, 32},
    {"small: 32 experts, dw", 96, 384, 2048, true, false, 32},
    {"small: head", 512, 8192, 384, false, true},
    {"decode: tiny head", 1, 1024, 128, false, true},
    {"decode: small head", 1, 8192, 384, false, true},
    {"decode: 4 rows", 4, 1024, 384, false, true},
    {"decode: 8 rows", 8, 1024, 384, false, true},
};

/// FLOP a second of a shape, one entry a round.
struct Rates {
  std::vector<double> single, dual, peer;
};

void call_peer(const Peer& peer, const Work& w) {
  const Shape& s = w.shape;
  peer.sgemm(101, s.transpose_a ? 112 : 111, s.transpose_b ? 112 : 111, static_cast<int>(s.M),
             static_cast<int>(s.N), static_cast<int>(s.K), 1.0f, values<float>(w.a.view),
             static_cast<int>(w.a.view.row_stride), values<float>(w.b.view),
             static_cast<int>(w.b.view.row_stride), 0.0f, values<float>(w.c.view),
             static_cast<int>(w.c.view.row_stride));
}

double median(std::vector<double> x) {
  if (x.empty()) return 0;
  std::nth_element(x.begin(), x.begin() + static_cast<long>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

double best(const std::vector<double>& x) {
  return x.empty() ? 0 : *std::max_element(x.begin(), x.end());
}

/// The best round says what the code can do, the median what it did beside its neighbours.
void report(const std::vector<Work>& works, const std::vector<Rates>& rates,
            const std::vector<double>& peaks, int rounds) {
  const double peak = best(peaks);
  std::printf("%s, FMA peak of a thread %.1f GFLOP/s (median %.1f), %d rounds\n",
              cpu::to_string(cpu::current_isa()), peak * 1e-9, median(peaks) * 1e-9, rounds);
  std::printf(
      "GFLOP/s, best (median)         M     N     K   one thread      peak  two threads"
      "      scale   OpenBLAS, one\n");
  for (size_t i = 0; i < works.size(); ++i) {
    const Work& w = works[i];
    const Rates& r = rates[i];
    std::printf("%-25s %6ld %5ld %5ld  %6.1f (%6.1f) %4.0f%%  %6.1f (%6.1f) %4.2fx", w.shape.what,
                w.shape.M, w.shape.N, w.shape.K, best(r.single) * 1e-9, median(r.single) * 1e-9,
                100 * best(r.single) / peak, best(r.dual) * 1e-9, median(r.dual) * 1e-9,
                best(r.dual) / best(r.single));
    if (!r.peer.empty()) std::printf("  %6.1f (%6.1f)", best(r.peer) * 1e-9, median(r.peer) * 1e-9);
    std::printf("\n");
  }
}

void measure(int rounds) {
  ThreadPool one(1), two(2);
  Queue single(one), dual(two);
  const Peer peer = find_peer();
  if (peer.set_threads != nullptr) peer.set_threads(1);
  const bool avx512 = cpu::current_isa() >= cpu::Isa::avx512;
  std::vector<Work> works;
  for (const Shape& s : shapes) works.push_back(make_work(s));
  std::vector<Rates> rates(works.size());
  std::vector<double> peaks;
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < works.size(); ++i) {
      const Work& w = works[i];
      peaks.push_back(fma_peak(avx512));
      const int calls = std::max(1, static_cast<int>(1e8 / w.flop));  // about two milliseconds
      const auto rate = [&](Queue& queue) {
        w.enqueue(queue);  // so that none pays for the first touch
        queue.wait();
        const double time = seconds([&] {
          for (int call = 0; call < calls; ++call) w.enqueue(queue);
          queue.wait();
        });
        return w.flop * calls / time;
      };
      rates[i].single.push_back(rate(single));
      rates[i].dual.push_back(rate(dual));
      if (peer.sgemm == nullptr || w.shape.groups != 1) continue;
      const double time = seconds([&] {
        for (int call = 0; call < calls; ++call) call_peer(peer, w);
      });
      rates[i].peer.push_back(w.flop * calls / time);
    }
  }
  report(works, rates, peaks, rounds);
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 21;
  for (const auto isa : troupe::kernels::cpu::available_isas()) {
    if (argc > 2 && argv[2] == std::string(troupe::kernels::cpu::to_string(isa))) {
      troupe::kernels::cpu::force_isa(isa);
    }
  }
  troupe::tests::measure(rounds);
}
