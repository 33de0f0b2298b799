#include "config/validate.h"

#include <algorithm>
#include <filesystem>

#include "config/checks.h"
#include "config/schedule_checks.h"

namespace troupe::config {

namespace {

constexpr int most_sources = 1000;

void check_recipe(const Train& train, Checks& checks) {
  if (!train.has_steps()) checks.add("train.steps", "nothing", "the number of steps");
  if (train.has_steps()) checks.in_range<int64_t>("train.steps", train.steps(), 1, most_steps);
  checks.in_range("train.micro_batch", train.micro_batch(), 1, 1 << 16);
  checks.in_range("train.micro_batches", train.micro_batches(), 1, most_micro_batches);
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
  checks.below("train.optimizer.ema_decay", optimizer.ema_decay(), 0, 1);
}

/// Files of Data or of DataSource.
template <class Files>
int count_files(const Files& files) {
  return files.text_size() + files.jsonl_size() + files.tokens_size();
}

void check_source(const Data& data, int index, Checks& checks) {
  const DataSource& source = data.source(index);
  const std::string field = fmt::format("data.source[{}]", index);
  if (source.name().empty()) checks.add(field + ".name", "nothing", "a name for messages");
  for (int i = 0; i < index; ++i) {
    if (source.name().empty() || data.source(i).name() != source.name()) continue;
    checks.add(field + ".name", source.name() + ", the name of another source", "another name");
    break;
  }
  if (count_files(source) == 0) {
    checks.add(field, "no file", "at least one of text, jsonl and tokens");
  }
  checks.in_range(field + ".weight", source.weight(), 0.001, 1000.0);
  if (source.has_holdout()) checks.below(field + ".holdout", source.holdout(), 0, 1);
}

/// Whether there is text that a tokenizer can be trained on.
bool check_sources(const Data& data, Checks& checks) {
  bool has_text = data.text_size() + data.jsonl_size() > 0;
  if (data.source_size() == 0 && count_files(data) == 0) {
    checks.add("data.text", "no file",
               "at least one of data.text, data.jsonl and data.tokens, or data.source");
  }
  if (data.source_size() > 0 && count_files(data) > 0) {
    checks.add("data.source", "files of data beside it", "all files in a source, or no source");
  }
  if (data.source_size() > most_sources) {
    checks.add("data.source", fmt::format("{} sources", data.source_size()),
               fmt::format("at most {}", most_sources));
    return has_text;
  }
  for (int i = 0; i < data.source_size(); ++i) {
    check_source(data, i, checks);
    has_text = has_text || data.source(i).text_size() + data.source(i).jsonl_size() > 0;
  }
  return has_text;
}

void check_data(const LoadedRun& loaded, const Model& model, Checks& checks) {
  const Data& data = loaded.run.data();
  const Tokenizer& tokenizer = data.tokenizer();
  const bool has_text = check_sources(data, checks);
  // The loss of MTP module m needs the token m + 2 ahead.
  const int32_t shortest = 2 + model.mtp_layers();
  if (data.seq_len() > model.max_positions()) {
    checks.add("data.seq_len", fmt::format("{}", data.seq_len()),
               fmt::format("at most max_positions of the model, {}", model.max_positions()));
  } else {
    checks.in_range("data.seq_len", data.seq_len(), shortest, model.max_positions());
  }
  checks.below("data.holdout", data.holdout(), 0, 1);
  checks.in_range("data.fim_rate", data.fim_rate(), 0.0, 1.0);
  checks.in_range("data.split_joined_rate", data.split_joined_rate(), 0.0, 1.0);
  if (tokenizer.source_case() == Tokenizer::SOURCE_NOT_SET) {
    if (!loaded.run.model().has_huggingface()) {
      checks.add("data.tokenizer", "nothing", "file or train { vocab_size }");
    }
  } else if (tokenizer.has_train()) {
    if (!has_text) {
      checks.add("data.tokenizer.train", "no text to train on", "data.text or data.jsonl");
    }
    if (tokenizer.train().vocab_size() != model.vocab_size()) {
      checks.add("data.tokenizer.train.vocab_size",
                 fmt::format("{}", tokenizer.train().vocab_size()),
                 fmt::format("vocab_size of the model, {}", model.vocab_size()));
    }
  }
}

void check_checkpoint(const Run& run, Checks& checks) {
  const Checkpoint& checkpoint = run.checkpoint();
  if (checkpoint.has_every())
    checks.in_range<int64_t>("checkpoint.every", checkpoint.every(), 1, 1 << 30);
  if (checkpoint.has_keep()) checks.in_range("checkpoint.keep", checkpoint.keep(), 1, 1 << 20);
}

void check_lease(const Cluster& cluster, Checks& checks) {
  const Cluster::Lease& lease = cluster.lease();
  if (lease.etcd().empty()) {
    checks.add("cluster.lease.etcd", "nothing", "where etcd answers, as http://10.0.0.9:2379");
  }
  for (const std::string& url : lease.etcd()) {
    const bool is_plain = url.starts_with("http://") && url.find('/', 7) == std::string::npos &&
                          url.find(':', 7) != std::string::npos;
    if (!is_plain) checks.add("cluster.lease.etcd", url, "http://HOST:PORT");
  }
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  if (lease.name().empty() || lease.name().size() > 64 ||
      !std::all_of(lease.name().begin(), lease.name().end(), is_allowed)) {
    checks.add("cluster.lease.name", lease.name().empty() ? "nothing" : lease.name(),
               "1 to 64 letters, digits, dots, dashes and underscores");
  }
  checks.in_range("cluster.lease.seconds", lease.seconds(), 2, 600);
  if (cluster.nodes() < 2) {
    checks.add("cluster.lease", fmt::format("one with cluster.nodes {}", cluster.nodes()),
               "at least 2 processes: those that are left hold what is gone with the one that led");
  }
}

/// Of so many steps records fit into memory and a viewer.
constexpr int most_traced_steps = 1000;

void check_trace(const Run& run, Checks& checks) {
  const Cluster::Trace& trace = run.cluster().trace();
  checks.in_range("cluster.trace.steps", trace.steps(), 0, most_traced_steps);
  checks.in_range("cluster.trace.after_steps", trace.after_steps(), 0, 1 << 30);
  if (trace.steps() <= 0 || !checks.passed()) return;
  const int64_t last = int64_t{trace.after_steps()} + trace.steps();
  if (last <= run.train().steps()) return;
  checks.add("cluster.trace.steps", fmt::format("{} behind step {}", trace.steps(), trace.after_steps()),
             fmt::format("a last one that train.steps has, {}", run.train().steps()));
}

void check_parallel(const Run& run, Checks& checks) {
  const Parallel& parallel = run.parallel();
  const auto at_least_one = [&](const char* field, bool set, int32_t value) {
    if (set) checks.in_range(field, value, 1, 1 << 20);
  };
  at_least_one("parallel.pipeline", parallel.has_pipeline(), parallel.pipeline());
  at_least_one("parallel.data", parallel.has_data(), parallel.data());
  at_least_one("parallel.expert", parallel.has_expert(), parallel.expert());
  at_least_one("parallel.expert_replicas", parallel.has_expert_replicas(), parallel.expert_replicas());
  at_least_one("parallel.attention", parallel.has_attention(), parallel.attention());
  at_least_one("parallel.optimizer", parallel.has_optimizer(), parallel.optimizer());
  if (run.cluster().has_threads()) {
    checks.in_range("cluster.threads", run.cluster().threads(), 1, 4096);
  }
  checks.in_range("cluster.nodes", run.cluster().nodes(), 1, 4096);
  checks.in_range("cluster.redundancy", run.cluster().redundancy(), 0,
                  run.cluster().nodes() > 1 ? 1 : 0);
  checks.in_range("cluster.step_deadline", run.cluster().step_deadline(), 0.01, 1e6);
  checks.in_range("cluster.slow_steps", run.cluster().slow_steps(), 1, 1 << 30);
  if (run.cluster().collectives() == Cluster::NCCL && run.cluster().device() != Cluster::CUDA) {
    checks.add("cluster.collectives", "NCCL with cluster.device CPU", "cluster.device CUDA, or MESSAGES");
  }
  if (run.cluster().has_lease()) check_lease(run.cluster(), checks);
  check_trace(run, checks);
}

void check_arithmetic(const Run& run, Checks& checks) {
  if (run.train().arithmetic() != Train::SM_90A) return;
  if (run.cluster().device() != Cluster::CUDA) {
    checks.add("train.arithmetic", "SM_90A with cluster.device CPU", "cluster.device CUDA");
  }
  if (run.train().precision() == Train::FP32) {
    checks.add("train.arithmetic",
               "SM_90A with train.precision " + Train::Precision_Name(run.train().precision()),
               "precision BF16 or FP8");
  }
}

void check_promotion(const Run& run, Checks& checks) {
  const Train& train = run.train();
  if (train.promotion() == Train::EVERY_128) return;
  const std::string value = Train::Promotion_Name(train.promotion()) + " with ";
  if (train.precision() != Train::FP8) {
    checks.add("train.promotion", value + "train.precision " + Train::Precision_Name(train.precision()),
               "precision FP8");
  } else if (run.cluster().device() == Cluster::CUDA && train.arithmetic() == Train::CPU) {
    checks.add("train.promotion", value + "train.arithmetic CPU and cluster.device CUDA",
               "arithmetic SM_90A, or cluster.device CPU");
  }
}

}  // namespace

void validate(const LoadedRun& run, const LoadedModel& model) {
  Checks checks(run.origins);
  check_recipe(run.run.train(), checks);
  check_optimizer(run.run.train().optimizer(), checks);
  check_data(run, model.model, checks);
  check_schedule(run.run, model.model, checks);
  check_checkpoint(run.run, checks);
  check_parallel(run.run, checks);
  check_arithmetic(run.run, checks);
  check_promotion(run.run, checks);
  checks.finish();
}

void validate_available(const LoadedRun& loaded) {
  const Run& run = loaded.run;
  Checks checks(loaded.origins);
  const auto refuse = [&](const char* field, std::string value, const char* wanted) {
    checks.add(field, value + ", which is not available yet", wanted);
  };
  if (run.train().attention_form() != Train::EXPANDED) {
    refuse("train.attention_form", Train::AttentionForm_Name(run.train().attention_form()),
           "EXPANDED");
  }
  if (run.train().unit_hashes() && run.cluster().nodes() > 1) {
    refuse("train.unit_hashes", fmt::format("true with cluster.nodes {}", run.cluster().nodes()),
           "false, or one node");
  }
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
  const auto check_all = [&](const std::string& field, const auto& paths) {
    for (int i = 0; i < paths.size(); ++i) check(fmt::format("{}[{}]", field, i), paths[i]);
  };
  const auto check_files = [&](const std::string& field, const auto& files) {
    check_all(field + ".text", files.text());
    check_all(field + ".jsonl", files.jsonl());
    check_all(field + ".tokens", files.tokens());
  };
  check_files("data", data);
  for (int i = 0; i < data.source_size(); ++i) {
    check_files(fmt::format("data.source[{}]", i), data.source(i));
  }
  if (data.tokenizer().has_file()) check("data.tokenizer.file", data.tokenizer().file());
  checks.finish();
}

}  // namespace troupe::config
