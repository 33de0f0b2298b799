// A plan with the run and the model that it is made of.
#pragma once

#include <string>
#include <vector>

#include "config/plan/planner.h"
#include "tests/config/fixtures.h"

namespace troupe::config {

struct Planned {
  explicit Planned(LoadedRun from, int cores = 2)
      : run(std::move(from)),
        model(model_of(run)),
        args{.run = run, .model = model, .cores = cores},
        plan(make_plan(args)) {}
  explicit Planned(const std::vector<std::string>& settings) : Planned(tiny_run(settings)) {}

  const LoadedRun run;
  const LoadedModel model;
  const PlanArgs args;
  Plan plan;
};

}  // namespace troupe::config
