#include "deploy/model/conform_command.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "actors/inference/conformance.h"
#include "deploy/options/device_option.h"

namespace troupe::deploy {
namespace {

struct Options {
  std::string folder;
  int threads = 2;
  std::string device = "cpu";
  bool is_full = false;
};

constexpr const char* examples = R"(Example:
  troupe conform tests/goldens/plain

CASE is a Hugging Face folder with expected.safetensors: tokens, and what a reference
implementation computed from them. Prints the largest differences as JSON; exit code 1 if one is
over its limit.)";

/// Gradients are many: the worst of each kind stands for all unless everything is asked for.
std::string group_of(const std::string& name) {
  for (const char* prefix : {"mtp.grad.", "grad.", "router."}) {
    if (name.starts_with(prefix)) {
      const bool is_router = std::string(prefix) == "router.";
      return is_router ? prefix + name.substr(name.rfind('.') + 1) : prefix + std::string("*");
    }
  }
  return name;
}

nlohmann::ordered_json to_json(const actors::ConformanceCheck& check) {
  nlohmann::ordered_json json{{"difference", check.difference}, {"limit", check.limit},
                              {"passed", check.passed()}};
  if (!std::isfinite(check.difference)) json["difference"] = std::to_string(check.difference);
  return json;
}

void conform(const Options& options) {
  kernels::ThreadPool pool(options.threads);
  kernels::Queue queue(pool, device_of(options.device));
  const actors::ConformanceReport report = actors::conform(options.folder, queue);
  nlohmann::ordered_json checks;
  std::map<std::string, double> worst;
  for (const actors::ConformanceCheck& check : report.checks) {
    const std::string name = options.is_full ? check.name : group_of(check.name);
    nlohmann::ordered_json json = to_json(check);
    if (name != check.name) json["worst"] = check.name;
    const auto [found, is_new] = worst.try_emplace(name, check.difference);
    // NaN is the worst.
    if (!is_new && (check.difference <= found->second || std::isnan(found->second))) continue;
    found->second = check.difference;
    checks[name] = std::move(json);
  }
  std::cout << nlohmann::ordered_json{{"case", options.folder}, {"passed", report.passed()},
                                      {"notes", report.notes}, {"checks", checks}}
                   .dump(2)
            << std::endl;
  if (!report.passed()) throw std::runtime_error(options.folder + " is over its limits");
}

}  // namespace

void add_conform_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("conform", "Compare with a reference implementation");
  command->add_option("CASE", options->folder, "folder of the case")->required();
  command->add_option("--threads", options->threads, "that compute")
      ->check(CLI::Range(1, 1024))->capture_default_str();
  add_device_option(*command, options->device);
  command->add_flag("--full", options->is_full, "every gradient, not the worst alone");
  command->footer(examples);
  command->callback([options] { conform(*options); });
}

}  // namespace troupe::deploy
