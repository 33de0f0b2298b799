#include "deploy/ablate/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "deploy/ablate/plot.h"
#include "deploy/write_file.h"

namespace troupe::deploy {
namespace {

std::string smoothed_title(const std::string& what) {
  return fmt::format("{}, smoothed over {} steps", what, smoothing_steps);
}

template <class F>
std::vector<Curve> curves(const std::vector<ArmResult>& results, F values) {
  std::vector<Curve> out;
  for (const ArmResult& result : results) {
    out.push_back({result.name, smoothed(values(result), smoothing_steps)});
  }
  return out;
}

}  // namespace

std::string ablation_table(const std::vector<ArmResult>& results) {
  size_t names = 4;
  for (const ArmResult& r : results) names = std::max(names, r.name.size());
  std::string text = fmt::format(
      "{:<{}} {:>10} {:>8} {:>9} {:>9} {:>8} {:>7} {:>12} {:>9} {:>9}  {}\n", "arm", names,
      "last loss", "to base", "held-out", "bits/byte", "to base", "MaxVio", "parameters",
      "cache B/t", "MiB", "tokens/s, hash");
  const ArmResult& base = results.front();
  for (const ArmResult& r : results) {
    text += fmt::format(
        "{:<{}} {:>10.4f} {:>+7.2f}% {:>9.4f} {:>9.4f} {:>+7.2f}% {:>7.3f} {:>12} {:>9} {:>9}  "
        "{:.0f} {}\n",
        r.name, names, r.last_loss(), 100 * relative_loss_difference(r, base), r.heldout_loss,
        r.heldout_bits_per_byte, 100 * (r.heldout_loss / base.heldout_loss - 1),
        r.last_max_violation(), r.parameters, r.cache_bytes, r.peak_bytes >> 20,
        r.median_tokens_per_second(), r.hash);
  }
  return text +
         "\nlast loss: mean over the last tenth of the steps. to base, first: smoothed training "
         "loss over the last\nquarter of the steps; second: held-out loss. MaxVio: load of the "
         "fullest expert over the mean, minus 1, mean\nover the last tenth. cache: bytes a token "
         "in BF16. MiB: resident at most.\n";
}

std::string ablation_json(const std::string& run, const std::vector<ArmResult>& results) {
  nlohmann::ordered_json json{{"run", run}};
  for (const ArmResult& r : results) {
    json["arms"].push_back(
        {{"name", r.name}, {"last_loss", r.last_loss()},
         {"loss_to_base", relative_loss_difference(r, results.front())},
         {"heldout_loss", r.heldout_loss}, {"heldout_bits_per_byte", r.heldout_bits_per_byte},
         {"max_violation", r.last_max_violation()}, {"parameters", r.parameters},
         {"cache_bytes_per_token", r.cache_bytes}, {"peak_bytes", r.peak_bytes},
         {"tokens_per_second", r.median_tokens_per_second()}, {"hash", r.hash},
         {"losses", r.losses}});
  }
  return json.dump(1) + "\n";
}

void write_ablation(const std::filesystem::path& folder, const std::string& run,
                    const std::vector<ArmResult>& results) {
  write_file(folder / "report.txt", ablation_table(results));
  write_file(folder / "report.json", ablation_json(run, results));
  write_file(folder / "loss.svg",
        plot_svg({smoothed_title("Training loss"), "nats a token",
                  curves(results, [](const ArmResult& r) { return r.losses; })}));
  write_file(folder / "maxvio.svg",
        plot_svg({smoothed_title("MaxVio"), "fullest expert / mean - 1",
                  curves(results, [](const ArmResult& r) { return r.max_violations; })}));
}

}  // namespace troupe::deploy
