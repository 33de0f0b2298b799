#include "deploy/bench/kernels/measure.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "deploy/bench/kernels/cuda/cases.h"
#include "kernels/arithmetic.h"
#include "kernels/cuda/device/device.h"

namespace troupe::deploy::kernel_bench {
namespace {

std::vector<CaseOf> all_cases() {
  std::vector<CaseOf> cases;
  add_dense_cases(cases);
  add_grouped_cases(cases);
  add_attention_cases(cases);
  add_quantise_cases(cases);
  add_operator_cases(cases);
  return cases;
}

/// Medians of the case in turns with its peer.
Row measure(Timer& timer, const std::string& family, const Case& its) {
  std::vector<Call> calls{its.ours};
  if (its.peers_call) calls.push_back(its.peers_call);
  const std::vector<double> us = timer.medians(calls);
  if (its.check) its.check();
  Row row{.family = family, .shape = its.shape, .us = us[0], .flop = its.flop, .bytes = its.bytes};
  if (its.peers_call) {
    row.peer = its.peer;
    row.peer_us = us[1];
  }
  return row;
}

/// Floating-point operations a second of the faster of ours and the peer's.
double gemm_rate(Timer& timer, const Case& largest) {
  const Row row = measure(timer, "", largest);
  return row.flop / (row.peer_us > 0 ? std::min(row.us, row.peer_us) : row.us) * 1e6;
}

std::string describe_version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Head make_head(Timer& timer, const MeasureArgs& args, const GpuMeter& meter) {
  int runtime = 0, driver = 0;
  expect_cuda(cudaRuntimeGetVersion(&runtime), "version of CUDA");
  expect_cuda(cudaDriverGetVersion(&driver), "version of CUDA");
  const auto has = [&](Bound bound) {
    return std::any_of(args.families.begin(), args.families.end(), [&](const Family& f) { return f.bound == bound; });
  };
  Rates rates{measure_copy_rate(timer), 0, 0};
  if (has(Bound::bf16_products)) rates.bf16_flop = gemm_rate(timer, largest_bf16_product(args.peers));
  if (has(Bound::fp8_products)) rates.fp8_flop = gemm_rate(timer, largest_fp8_product(args.peers));
  return {.gpu = kernels::cuda::describe_gpu(),
          .driver = meter.driver(),
          .cuda = describe_version(runtime),
          .cuda_driver = describe_version(driver),
          .arithmetic = std::string(kernels::name_of(kernels::Arithmetic::sm_90a)),
          .peers = args.peers == nullptr ? "" : args.peers->name() + " " + args.peers->build(),
          .date = now(),
          .rounds = args.rounds,
          .rates = rates};
}

std::string pci_of_gpu() {
  int gpu = 0;
  char pci[32] = "";
  expect_cuda(cudaGetDevice(&gpu), "the GPU");
  expect_cuda(cudaDeviceGetPCIBusId(pci, sizeof(pci), gpu), "the GPU");
  return pci;
}

}  // namespace

Table measure(const MeasureArgs& args) {
  kernels::cuda::open();
  const GpuMeter meter(pci_of_gpu());
  Timer timer(args.rounds);
  Table table(make_head(timer, args, meter), args.families);
  args.say(table.head());
  const std::vector<CaseOf> cases = all_cases();
  for (const Family& family : args.families) {
    for (const CaseOf& each : cases) {
      if (each.family != family.name) continue;
      Row row = measure(timer, family.name, each.make(args.peers));
      row.reading = meter.read();
      args.say(table.line(row));
      table.add(std::move(row));
    }
  }
  args.say(table.foot());
  return table;
}

}  // namespace troupe::deploy::kernel_bench
