#include "deploy/plan_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <optional>
#include <stdexcept>

#include "actors/train/recipe.h"
#include "config/plan/describe.h"
#include "config/schedule/schedule_drawing.h"
#include "deploy/options/device_option.h"
#include "deploy/options/set_option.h"
#include "deploy/process/machine.h"
#include "deploy/write_file.h"
#include "kernels/cuda/device/device.h"
#include "runtime/model_shape.h"

namespace troupe::deploy {
namespace {

struct Options {
  std::string run;
  std::vector<std::string> settings;
  PlanRates rates;
  std::string svg;
  bool has_unit_costs = false;
};

constexpr const char* examples = R"(Examples:
  troupe plan config/runs/pretrain_tiny.textproto --set parallel.pipeline=4
  troupe plan my_run.textproto --set cluster.nodes=8 --bandwidth 1e9
  troupe plan config/runs/deepseek_v3_plan.textproto --flops 430e12 --bandwidth 50e9 --svg v3.svg

Trains nothing and needs no file of text. --flops is what a process reaches, not its peak: `train`
prints as mfu which share of this machine's peak a run reaches. Without it this machine's peak is
measured, which no run reaches: the time is then a lower bound. Of a run on GPUs nothing is predicted
where there is none.)";

/// Nothing where neither a rate is given nor anything can be measured.
std::optional<config::MachineRates> rates_of(const RunSetup& setup, const PlanRates& rates) {
  const auto with = [&](double flops) {
    return config::MachineRates{.flops = flops, .bandwidth = rates.bandwidth.value_or(0)};
  };
  if (rates.flops) return with(*rates.flops);
  const kernels::Device device = device_of(setup.run.run.cluster());
  if (device == kernels::Device::cpu) return with(measure_peak_flops(setup.plan.threads));
  if (!kernels::cuda::why_no_gpu().empty()) return std::nullopt;
  const auto recipe = actors::make_recipe(setup.run.run, runtime::model_shape(setup.model.model));
  return with(measure_peak_flops(1, device, recipe.arithmetic));
}

/// Of the first data worker, which has no fewer micro-batches than the others.
std::string draw(const RunSetup& setup, const std::optional<config::MachineRates>& rates,
                 bool has_unit_costs) {
  if (!rates && !has_unit_costs) {
    throw std::runtime_error("no GPU to measure for the timeline: wanted --flops or --unit-costs");
  }
  const config::Plan& plan = setup.plan;
  const auto& micro_batches = plan.micro_batches[0];
  const config::PipelineLists lists =
      config::make_lists({plan.schedule, plan.pipeline, micro_batches});
  const config::ScheduleCosts costs =
      has_unit_costs ? config::unit_costs(plan.pipeline)
                     : config::predict_step(setup.plan_args(), plan, *rates).costs;
  return config::draw_schedule({.title = fmt::format("{}: {} stages, {} micro-batches",
                                                     config::Parallel::Schedule_Name(plan.schedule),
                                                     plan.pipeline, micro_batches.size()),
                                .time_unit = has_unit_costs ? "" : "seconds",
                                .lists = lists,
                                .played = config::simulate(lists, costs)});
}

void plan(const Options& options) {
  const RunSetup setup = plan_run(config::load_run(options.run, options.settings));
  print_plan(setup, options.rates);
  if (options.svg.empty()) return;
  write_file(options.svg, draw(setup, rates_of(setup, options.rates), options.has_unit_costs));
  std::cout << "timeline    " << options.svg << "\n";
}

}  // namespace

void print_plan(const RunSetup& setup, const PlanRates& rates) {
  std::cout << config::describe_plan(setup.plan_args(), setup.plan, rates_of(setup, rates));
}

void add_plan_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("plan", "Who would do what, in which memory, and how fast");
  command->add_option("RUN", options->run, "run file (textproto)")->required();
  add_set_option(*command, options->settings, "set a field of the run: cluster.nodes=4");
  command
      ->add_option("--flops", options->rates.flops,
                   "floating-point operations a second that a process reaches")
      ->check(CLI::Range(1.0, 1e21));
  command
      ->add_option("--bandwidth", options->rates.bandwidth,
                   "bytes a second between processes; default: transfers take no time")
      ->check(CLI::Range(1.0, 1e18));
  CLI::Option* svg =
      command->add_option("--svg", options->svg, "write the timeline of a data worker's pipeline");
  command
      ->add_flag("--unit-costs", options->has_unit_costs,
                 "draw with F = 1, B = 2 instead of predicted times")
      ->needs(svg);
  command->footer(examples);
  command->callback([options] { plan(*options); });
}

}  // namespace troupe::deploy
