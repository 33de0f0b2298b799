#include "config/validate.h"

#include <filesystem>

#include "config/checks.h"

namespace troupe::config {

namespace {

constexpr int64_t most_steps = int64_t{1} << 40;

void check_recipe(const Train& train, Checks& checks) {
  if (!train.has_steps()) checks.add("train.steps", "nothing", "the number of steps");
  if (train.has_steps()) checks.in_range<int64_t>("train.steps", train.steps(), 1, most_steps);
  checks.in_range("train.micro_batch", train.micro_batch(), 1, 1 << 16);
  checks.in_range("train.micro_batches", train.micro_batches(), 1, 1 << 20);
  checks.not_negative("train.mtp_weight", train.mtp_weight());
  checks.in_range<int64_t>("train.hash_every", train.hash_every(), 0, most_steps);
  checks.in_range<int64_t>("train.eval_every", train.eval_every(), 0, most_steps);
  checks.in_range("train.fixed_point_bits", train.fixed_point_bits(), 16, 60);
  checks.not_negative("train.routing.gamma", train.routing().gamma());
  checks.not_negative("train.routing.balance_alpha", train.routing().balance_alpha());
}

void check_optimizer(const Optimizer& optimizer, Checks& checks) {
  checks.not_negative("train.optimizer.lr", optimizer.lr());
  checks.in_range<int64_t>("train.optimizer.warmup_steps", optimizer.warmup_steps(), 0, most_steps);
  checks.below("train.optimizer.beta1", optimizer.beta1(), 0, 1);
  checks.below("train.optimizer.beta2", optimizer.beta2(), 0, 1);
  checks.positive("train.optimizer.eps", optimizer.eps());
  checks.not_negative("train.optimizer.weight_decay", optimizer.weight_decay());
  checks.not_negative("train.optimizer.clip", optimizer.clip());
  checks.in_range("train.optimizer.final_lr", optimizer.final_lr(), 0.0,
                  std::max(optimizer.lr(), 0.0));
}

void check_data(const LoadedRun& loaded, const Model& model, Checks& checks) {
  const Data& data = loaded.run.data();
  const Tokenizer& tokenizer = data.tokenizer();
  if (data.text_size() + data.jsonl_size() + data.tokens_size() == 0) {
    checks.add("data.text", "no file", "at least one of data.text, data.jsonl and data.tokens");
  }
  // The MTP loss needs a second next token.
  const int32_t shortest = model.mtp_layers() > 0 ? 3 : 2;
  if (data.seq_len() > model.max_positions()) {
    checks.add("data.seq_len", fmt::format("{}", data.seq_len()),
               fmt::format("at most max_positions of the model, {}", model.max_positions()));
  } else {
    checks.in_range("data.seq_len", data.seq_len(), shortest, model.max_positions());
  }
  checks.below("data.holdout", data.holdout(), 0, 1);
  if (tokenizer.source_case() == Tokenizer::SOURCE_NOT_SET) {
    if (!loaded.run.model().has_huggingface()) {
      checks.add("data.tokenizer", "nothing", "file or train { vocab_size }");
    }
  } else if (tokenizer.has_train()) {
    if (data.text_size() + data.jsonl_size() == 0) {
      checks.add("data.tokenizer.train", "no text to train on", "data.text or data.jsonl");
    }
    if (tokenizer.train().vocab_size() != model.vocab_size()) {
      checks.add("data.tokenizer.train.vocab_size",
                 fmt::format("{}", tokenizer.train().vocab_size()),
                 fmt::format("vocab_size of the model, {}", model.vocab_size()));
    }
  }
}

/// Refuses what the design has and this version lacks.
void check_available(const Run& run, Checks& checks) {
  const auto refuse = [&](const char* field, std::string value, const char* wanted) {
    checks.add(field, value + ", which is not available yet", wanted);
  };
  const Optimizer& optimizer = run.train().optimizer();
  if (optimizer.moments() != Optimizer::F32) {
    refuse("train.optimizer.moments", Optimizer::Moments_Name(optimizer.moments()), "F32");
  }
  if (run.train().attention_form() != Train::EXPANDED) {
    refuse("train.attention_form", Train::AttentionForm_Name(run.train().attention_form()),
           "EXPANDED");
  }
  if (run.data().fim_rate() != 0) {
    refuse("data.fim_rate", fmt::format("{}", run.data().fim_rate()), "0");
  }
  if (run.cluster().nodes() != 1) {
    refuse("cluster.nodes", fmt::format("{}", run.cluster().nodes()), "1");
  }
  if (run.cluster().redundancy() != 0) {
    refuse("cluster.redundancy", fmt::format("{}", run.cluster().redundancy()), "0");
  }
  if (run.parallel().schedule() != Parallel::ONE_F_ONE_B) {
    refuse("parallel.schedule", Parallel::Schedule_Name(run.parallel().schedule()), "ONE_F_ONE_B");
  }
}

void check_checkpoint(const Run& run, Checks& checks) {
  const Checkpoint& checkpoint = run.checkpoint();
  if (checkpoint.has_every())
    checks.in_range<int64_t>("checkpoint.every", checkpoint.every(), 1, 1 << 30);
  if (checkpoint.has_keep()) checks.in_range("checkpoint.keep", checkpoint.keep(), 1, 1 << 20);
}

void check_parallel(const Run& run, Checks& checks) {
  const Parallel& parallel = run.parallel();
  const auto at_least_one = [&](const char* field, bool set, int32_t value) {
    if (set) checks.in_range(field, value, 1, 1 << 20);
  };
  at_least_one("parallel.pipeline", parallel.has_pipeline(), parallel.pipeline());
  at_least_one("parallel.data", parallel.has_data(), parallel.data());
  at_least_one("parallel.expert", parallel.has_expert(), parallel.expert());
  at_least_one("parallel.attention", parallel.has_attention(), parallel.attention());
  at_least_one("parallel.optimizer", parallel.has_optimizer(), parallel.optimizer());
  if (run.cluster().has_threads()) {
    checks.in_range("cluster.threads", run.cluster().threads(), 1, 4096);
  }
  checks.in_range("cluster.step_deadline", run.cluster().step_deadline(), 0.01, 1e6);
}

}  // namespace

void validate(const LoadedRun& run, const LoadedModel& model) {
  Checks checks(run.origins);
  check_recipe(run.run.train(), checks);
  check_optimizer(run.run.train().optimizer(), checks);
  check_data(run, model.model, checks);
  check_checkpoint(run.run, checks);
  check_parallel(run.run, checks);
  check_available(run.run, checks);
  checks.finish();
}

void validate_files(const LoadedRun& run) {
  Checks checks(run.origins);
  const Data& data = run.run.data();
  const auto check = [&](const std::string& field, const std::string& path) {
    std::error_code failure;
    if (!std::filesystem::is_regular_file(path, failure)) {
      checks.add(field, "no file " + path, "a file");
    }
  };
  const auto check_all = [&](const char* field, const auto& paths) {
    for (int i = 0; i < paths.size(); ++i) check(fmt::format("{}[{}]", field, i), paths[i]);
  };
  check_all("data.text", data.text());
  check_all("data.jsonl", data.jsonl());
  check_all("data.tokens", data.tokens());
  if (data.tokenizer().has_file()) check("data.tokenizer.file", data.tokenizer().file());
  checks.finish();
}

}  // namespace troupe::config
