#include "actors/control/spike.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace troupe::actors {
namespace {

/// The highest loss that is no spike.
double limit_of(const config::Spike& spike, const wire::LossTrend& trend) {
  return trend.mean() + spike.threshold() * std::sqrt(trend.variance());
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

}  // namespace

bool is_spike(const config::Spike& spike, const wire::LossTrend& trend, double loss) {
  return trend.losses() >= static_cast<uint64_t>(spike.window()) && loss > limit_of(spike, trend);
}

wire::LossTrend next_trend(const config::Spike& spike, const wire::LossTrend& trend, double loss) {
  wire::LossTrend next = trend;
  if (is_spike(spike, trend, loss)) {
    loss = limit_of(spike, trend);
    next.set_spikes(trend.spikes() + 1);
  }
  next.set_losses(trend.losses() + 1);
  const auto window = static_cast<uint64_t>(spike.window());
  const double weight = 1.0 / static_cast<double>(std::min(next.losses(), window));
  const double distance = loss - trend.mean();
  next.set_mean(trend.mean() + weight * distance);
  next.set_variance((1.0 - weight) * (trend.variance() + weight * distance * distance));
  return next;
}

wire::LossTrend new_trend(const wire::LossTrend& before) {
  wire::LossTrend trend;
  trend.set_spikes(before.spikes());
  return trend;
}

std::string spike_text(const wire::StepRecord& record) {
  return "step " + std::to_string(record.step()) + " has loss " + number(record.loss()) +
         ", a spike: the mean is " + number(record.trend().mean()) + ", the standard deviation " +
         number(std::sqrt(record.trend().variance()));
}

}  // namespace troupe::actors
