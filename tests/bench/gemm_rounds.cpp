// Times matrix products for compare_gemm; the counterpart of gemm_peer.py.
// Usage: gemm_rounds THREADS [portable|avx2|avx512]
// For each line "M N K transpose_a transpose_b groups milliseconds" on standard input the product
// is computed for about so long, and one line of JSON written.
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "tests/bench/fma_peak.h"
#include "tests/bench/gemm_work.h"

namespace troupe::tests {
namespace {

/// Seconds of a processor that this process has had: what a busy machine does not change much.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void measure(kernels::Queue& queue, const Work& work, double limit) {
  const auto call = [&](int calls) {
    return seconds([&] {
      for (int i = 0; i < calls; ++i) work.enqueue(queue);
      queue.wait();
    });
  };
  call(1);
  const int calls = std::clamp(static_cast<int>(limit / call(1)), 1, 100'000);
  const double before = cpu_seconds();
  const double time = call(calls);
  std::printf("{\"seconds\": %.9g, \"cpu_seconds\": %.9g}\n", time / calls,
              (cpu_seconds() - before) / calls);
  std::fflush(stdout);
}

void serve(int threads) {
  kernels::ThreadPool pool(threads);
  kernels::Queue queue(pool);
  std::map<std::array<long, 6>, Work> works;
  std::array<long, 6> key{};
  double milliseconds = 0;
  while (std::scanf("%ld %ld %ld %ld %ld %ld %lf", &key[0], &key[1], &key[2], &key[3], &key[4],
                    &key[5], &milliseconds) == 7) {
    const auto [at, is_new] = works.try_emplace(key);
    if (is_new) {
      at->second = make_work({.what = "", .M = key[0], .N = key[1], .K = key[2],
                              .transpose_a = key[3] != 0, .transpose_b = key[4] != 0,
                              .groups = key[5]});
    }
    measure(queue, at->second, 1e-3 * milliseconds);
  }
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  for (const auto isa : troupe::kernels::cpu::available_isas()) {
    if (argc > 2 && argv[2] == std::string(troupe::kernels::cpu::to_string(isa))) {
      troupe::kernels::cpu::force_isa(isa);
    }
  }
  troupe::tests::serve(argc > 1 ? std::max(1, std::atoi(argv[1])) : 1);
}
