#include "actors/inference/conformance.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "actors/inference/decoder.h"
#include "actors/inference/model_folder.h"
#include "actors/inference/sampler.h"
#include "actors/train/plain_loop.h"
#include "kernels/ops/fixed_point.h"
#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/safetensors.h"

namespace troupe::actors {
namespace {

namespace limits {
constexpr double value = 2e-4;     // logits and hidden states, absolute
constexpr double loss = 1e-5;      // absolute
constexpr double gradient = 1e-3;  // of the tensor's largest value
constexpr double adamw = 1e-3;     // losses, absolute; norms, relative
constexpr double weights = 1e-4;   // of the router, absolute
}  // namespace limits

/// The case's file, with names ticked off as they are compared.
class Expected {
 public:
  explicit Expected(const std::filesystem::path& path) : file_(path) {}

  bool has(const std::string& name) const { return file_.find(name) != nullptr; }

  std::vector<float> floats(const std::string& name) {
    const runtime::TensorEntry& entry = take(name);
    std::vector<float> values(static_cast<size_t>(entry.count()));
    file_.read_f32(entry, values);
    return values;
  }

  std::vector<int32_t> integers(const std::string& name) {
    const runtime::TensorEntry& entry = take(name);
    if (entry.dtype != runtime::FileDType::i64) {
      throw runtime::CheckpointError(file_.path().string() + ": tensor " + name + " is " +
                                     std::string(runtime::to_string(entry.dtype)) +
                                     ", wanted I64");
    }
    const auto bytes = file_.bytes(entry);
    std::vector<int32_t> values(bytes.size() / sizeof(int64_t));
    for (size_t i = 0; i < values.size(); ++i) {
      int64_t value = 0;
      std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
      if (value != static_cast<int32_t>(value)) {
        throw runtime::CheckpointError(file_.path().string() + ": tensor " + name + " holds " +
                                       std::to_string(value) + ", wanted a 32-bit integer");
      }
      values[i] = static_cast<int32_t>(value);
    }
    return values;
  }

  const std::vector<int64_t>& shape(const std::string& name) { return take(name).shape; }
  const std::filesystem::path& path() const { return file_.path(); }

  std::vector<std::string> names(const std::string& prefix) const {
    std::vector<std::string> found;
    for (const auto& entry : file_.tensors()) {
      if (entry.name.starts_with(prefix)) found.push_back(entry.name);
    }
    return found;
  }

  void expect_all_taken() const {
    for (const auto& entry : file_.tensors()) {
      if (std::find(taken_.begin(), taken_.end(), entry.name) == taken_.end()) {
        throw runtime::CheckpointError(file_.path().string() + ": tensor " + entry.name +
                                       " is of no kind that can be compared");
      }
    }
  }

 private:
  const runtime::TensorEntry& take(const std::string& name) {
    const runtime::TensorEntry* entry = file_.find(name);
    if (entry == nullptr) {
      throw runtime::CheckpointError(file_.path().string() + ": found no tensor " + name);
    }
    taken_.push_back(name);
    return *entry;
  }

  const runtime::SafetensorsFile file_;
  std::vector<std::string> taken_;
};

/// The largest |a - b|; NaN if there is one, infinity if the lengths differ.
double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - double{b[i]});
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

double relative_difference(const std::vector<float>& got, const std::vector<float>& wanted) {
  double scale = 0;
  for (const float x : wanted) scale = std::max(scale, std::abs(double{x}));
  const double difference = largest_difference(got, wanted);
  return scale > 0 ? difference / scale : difference;
}

double count_different(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double n = 0;
  for (size_t i = 0; i < a.size(); ++i) n += a[i] != b[i];
  return n;
}

class Case {
 public:
  Case(const std::filesystem::path& folder, kernels::Queue& queue)
      : folder_(folder), queue_(queue), host_queue_(queue, kernels::Device::cpu),
        expected_(folder / "expected.safetensors"),
        model_(load_model_folder(folder)) {
    report_.notes = model_.notes;
    const auto shape = expected_.shape("tokens");
    if (shape.size() != 2 || shape[0] < 1 || shape[1] < 2) {
      throw runtime::CheckpointError(expected_.path().string() +
                                     ": tokens has another shape than [B, T], T at least 2");
    }
    tokens_ = expected_.integers("tokens");
    Recipe& recipe = model_.recipe;
    recipe.sequences = shape[0];
    recipe.sequence_rows = shape[1];
    recipe.micro_batches = 1;
    recipe.mtp_weight = 0.3;
    recipe.scale_bits = 50;
    recipe.gamma = 0;
    recipe.balance = Balance::none;
    batch_ = batch();
  }

  ConformanceReport run() {
    forward_and_gradients();
    if (expected_.has("greedy")) greedy();
    if (expected_.has("adamw.losses")) adamw();
    expected_.expect_all_taken();
    return std::move(report_);
  }

 private:
  void add(const std::string& name, double difference, double limit) {
    report_.checks.push_back({name, difference, limit});
  }

  /// The tokens are inputs; each is the target of the one before it, the last row has none.
  MicroBatch batch() const {
    std::vector<int32_t> rows;
    const auto T = static_cast<size_t>(model_.recipe.sequence_rows);
    for (size_t b = 0; b < tokens_.size() / T; ++b) {
      rows.insert(rows.end(), tokens_.begin() + b * T, tokens_.begin() + (b + 1) * T);
      rows.push_back(-1);
    }
    return make_micro_batch(rows, model_.recipe.sequences);
  }

  void forward_and_gradients() {
    runtime::StateArena& arena = *model_.arena;
    PlainLoop loop(arena, model_.recipe, queue_);
    loop.bias().values = model_.routing_bias;
    const Attempt attempt{.step = 1, .epoch = {}, .scale_bits = model_.recipe.scale_bits};
    ForwardView view;
    const bool with_mtp = expected_.has("mtp.loss");
    if (with_mtp && model_.recipe.shape.mtp_layers == 0) {
      throw runtime::CheckpointError(expected_.path().string() +
                                     ": found mtp.loss, wanted none: the model has no MTP layer");
    }
    const StepSums sums = loop.gradients({&batch_, 1}, {}, attempt, &view);
    if (expected_.has("logits")) {
      add("logits", largest_difference(view.logits, expected_.floats("logits")), limits::value);
    }
    if (expected_.has("hidden")) {
      add("hidden", largest_difference(view.hidden, expected_.floats("hidden")), limits::value);
    }
    const auto loss = [&](const std::string& name, int64_t sum) {
      if (!expected_.has(name)) return;
      const double found = kernels::from_fixed_point(sum, attempt.scale_bits);
      add(name, std::abs(found - double{expected_.floats(name).at(0)}), limits::loss);
    };
    loss("loss", sums.main_loss);
    if (with_mtp) {
      loss("mtp.loss", sums.mtp_loss.at(0));
      add("mtp.logits", largest_difference(view.mtp_logits.at(0), expected_.floats("mtp.logits")),
          limits::value);
    }
    routers(view);
    gradients("grad.", arena);
    gradients("mtp.grad.", arena);
  }

  void routers(const ForwardView& view) {
    for (int64_t i = 0; i < model_.recipe.shape.moe_layers(); ++i) {
      const auto layer = static_cast<size_t>(i);
      const std::string name =
          "router." + std::to_string(i + model_.recipe.shape.dense_layers) + ".";
      if (!expected_.has(name + "indices")) continue;
      add(name + "indices",
          count_different(view.expert_ids.at(layer), expected_.integers(name + "indices")), 0);
      add(name + "weights",
          largest_difference(view.expert_weights.at(layer), expected_.floats(name + "weights")),
          limits::weights);
    }
  }

  void gradients(const std::string& prefix, runtime::StateArena& arena) {
    for (const std::string& name : expected_.names(prefix)) {
      const int tensor = arena.index(name.substr(prefix.size()));
      // In the arena, also where the GPU has computed it: there it has been fetched.
      const kernels::ConstTensor sum = arena.tensor_gradient(tensor);
      std::vector<float> found(static_cast<size_t>(sum.count()));
      for (size_t i = 0; i < found.size(); ++i) {
        found[i] = static_cast<float>(kernels::from_fixed_point(
            kernels::values<int64_t>(sum)[i], model_.recipe.scale_bits));
      }
      add(name, relative_difference(found, expected_.floats(name)), limits::gradient);
    }
  }

  void greedy() {
    const std::vector<int32_t> wanted = expected_.integers("greedy");
    if (model_.recipe.sequence_rows < 8) {
      throw runtime::CheckpointError(expected_.path().string() +
                                     ": greedy needs 8 tokens to start from, found " +
                                     std::to_string(model_.recipe.sequence_rows));
    }
    for (const auto form : {kernels::AttentionForm::expanded, kernels::AttentionForm::absorbed}) {
      Decoder decoder({.arena = *model_.arena, .recipe = model_.recipe,
                       .routing_bias = model_.routing_bias, .queue = host_queue_, .form = form,
                       .state = 0, .page_rows = 16});
      DecoderSequence sequence = decoder.new_sequence();
      std::vector<int32_t> next(tokens_.begin(), tokens_.begin() + 8), made;
      while (made.size() < wanted.size()) {
        const Decoder::Part part{&sequence, next};
        const kernels::Buffer logits = decoder.last_logits({&part, 1});
        made.push_back(sample({.logits = {kernels::values<float>(logits.view),
                                          static_cast<size_t>(decoder.vocabulary())},
                               .temperature = 0, .top_p = 1, .seed = 0, .sequence = 0,
                               .position = 0}));
        next = {made.back()};
      }
      add(form == kernels::AttentionForm::expanded ? "greedy" : "greedy.absorbed",
          count_different(made, wanted), 0);
    }
  }

  void adamw() {
    Recipe recipe = model_.recipe;
    recipe.mtp_weight = 0;
    recipe.on_nan = OnNan::stop;
    recipe.optimizer.set_lr(1e-3);
    recipe.optimizer.set_warmup_steps(0);
    recipe.optimizer.set_beta1(0.9);
    recipe.optimizer.set_beta2(0.95);
    recipe.optimizer.set_eps(1e-8);
    recipe.optimizer.set_weight_decay(0.1);
    recipe.optimizer.set_clip(1.0);
    const std::vector<float> losses = expected_.floats("adamw.losses");
    const std::vector<float> norms = expected_.floats("adamw.grad_norms");
    PlainLoop loop(*model_.arena, recipe, queue_);
    loop.bias().values = model_.routing_bias;
    std::vector<float> found_losses, found_norms;
    for (size_t i = 0; i < losses.size(); ++i) {
      const wire::StepRecord record = loop.step({&batch_, 1});
      found_losses.push_back(static_cast<float>(record.loss()));
      found_norms.push_back(static_cast<float>(record.gradient_norm()));
    }
    add("adamw.losses", largest_difference(found_losses, losses), limits::adamw);
    add("adamw.grad_norms", relative_difference(found_norms, norms), limits::adamw);
  }

  const std::filesystem::path folder_;
  kernels::Queue& queue_;
  kernels::Queue host_queue_;  // decoding has no kernels on the GPU yet
  Expected expected_;
  LoadedModel model_;
  std::vector<int32_t> tokens_;
  MicroBatch batch_;
  ConformanceReport report_;
};

}  // namespace

bool ConformanceReport::passed() const {
  return std::all_of(checks.begin(), checks.end(),
                     [](const ConformanceCheck& check) { return check.passed(); });
}

ConformanceReport conform(const std::filesystem::path& folder, kernels::Queue& queue) {
  return Case(folder, queue).run();
}

}  // namespace troupe::actors
