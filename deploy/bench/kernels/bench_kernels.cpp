#include "deploy/bench/kernels/bench_kernels.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>

#include "deploy/bench/kernels/measure.h"
#include "deploy/options/device_option.h"
#include "deploy/write_file.h"
#include "kernels/cuda/device/device.h"

namespace troupe::deploy {
namespace {

struct Options {
  std::string device;
  std::vector<std::string> only;
  int rounds = 30;
  std::string peers;
  std::string json;
};

constexpr const char* help = R"(Example:
  troupe bench kernels --device cuda --only "FP8 dense" --peers build/tests/bench/libkernel_peers.so

Measures the kernels of the GPU, each in turns with its peer on random data, L2 flushed before every
call, and prints medians beside what bounds them: the rate of a copy, or of the largest product, in
the same run. Bytes are those of every input and output once. Without --peers products have no peer,
but for grouped ones, which stand beside our dense one of as many rows.)";

/// What is in the file stays there.
void expect_writable(const std::string& file) {
  if (!std::ofstream(file, std::ios::app)) throw std::runtime_error(file + ": cannot be written");
}

void measure_kernels(const Options& options) {
  namespace bench = kernel_bench;
  if (device_of(options.device) != kernels::Device::cuda) {
    throw std::runtime_error("bench kernels: found --device " + options.device + ", wanted cuda: on the CPU "
                             "`troupe bench operators RUN` measures operators, and tests/bench/compare_gemm products");
  }
  const std::vector<bench::Family> families = bench::families_with(options.only);
  std::optional<bench::PeerLibrary> peers;
  if (!options.peers.empty()) peers.emplace(options.peers);
  kernels::cuda::open();
  if (!options.json.empty()) expect_writable(options.json);  // better now than when all has been measured
  const bench::Table table = bench::measure({.families = families,
                                             .rounds = options.rounds,
                                             .peers = peers ? &*peers : nullptr,
                                             .say = [](const std::string& text) { std::cout << text << std::flush; }});
  if (!options.json.empty()) write_file(options.json, table.json().dump(2) + "\n");
}

}  // namespace

void add_bench_kernels(CLI::App& bench) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("kernels", "The GPU's kernels beside what bounds them, and beside peers");
  add_device_option(*command, options->device)->required();
  command->add_option("--only", options->only, "families with this in their names; several times; default all")
      ->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--rounds", options->rounds, "in turns, of which the median is taken")
      ->check(CLI::Range(1, 10000))->capture_default_str();
  command->add_option("--peers", options->peers, "library of peers: the target kernel_peers makes one of cuBLASLt");
  command->add_option("--json", options->json, "write the table to this file too");
  command->footer(help);
  command->callback([options] { measure_kernels(*options); });
}

}  // namespace troupe::deploy
