// Loss spikes. The trend of the loss stands in the records of the steps, so whoever goes on from a
// record judges as if nobody had stopped.
#pragma once

#include <string>

#include "config/proto/train.pb.h"
#include "runtime/proto/step.pb.h"

namespace troupe::actors {

/// Whether the loss is more than `threshold` standard deviations above the mean of a trend that has
/// seen `window` losses or more.
bool is_spike(const config::Spike& spike, const wire::LossTrend& trend, double loss);

/// The trend with one more loss, which must be finite: with weight w = 1 / min(losses, window),
/// mean += w d and variance = (1 - w) (variance + w d^2), d the distance to the old mean (West,
/// "Updating mean and variance estimates", CACM 22, 1979). A spike counts, and enters as the highest
/// loss that would have been none.
wire::LossTrend next_trend(const config::Spike& spike, const wire::LossTrend& trend, double loss);

/// A trend of no loss yet, which keeps the number of spikes.
wire::LossTrend new_trend(const wire::LossTrend& before);

/// "step 7 has loss 9.1, a spike: the mean is 4.1, the standard deviation 0.2" of a record that says
/// so; both with this step in them.
std::string spike_text(const wire::StepRecord& record);

}  // namespace troupe::actors
