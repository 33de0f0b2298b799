#include "config/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/text/textproto.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

std::string run_error(const std::vector<std::string>& settings) {
  return error_of([&] {
    const LoadedRun run = tiny_run(settings);
    validate(run, model_of(run));
  });
}

std::string model_error(const std::vector<std::string>& settings) {
  return error_of([&] { validate(model_of(tiny_run(settings))); });
}

TEST(ValidateRun, RefusesValuesOutOfRange) {
  EXPECT_THAT(run_error({"train.steps=0"}), HasSubstr("train.steps: found 0, wanted 1 to "));
  EXPECT_THAT(run_error({"train.micro_batch=0"}), HasSubstr("train.micro_batch: found 0"));
  EXPECT_THAT(run_error({"train.optimizer.beta2=1"}),
              EndsWith("found 1, wanted a number of at least 0 and less than 1"));
  EXPECT_THAT(run_error({"train.optimizer.lr=nan"}),
              HasSubstr("train.optimizer.lr: found nan, wanted a number of at least 0"));
  EXPECT_THAT(run_error({"train.optimizer.lr=inf"}), HasSubstr("found inf"));
  EXPECT_THAT(run_error({"train.optimizer.lr=1e-3", "train.optimizer.final_lr=1"}),
              HasSubstr("train.optimizer.final_lr: found 1, wanted 0 to 0.001"));
  EXPECT_THAT(run_error({"data.holdout=1"}), HasSubstr("data.holdout: found 1"));
  EXPECT_THAT(run_error({"data.fim_rate=1.5"}), HasSubstr("data.fim_rate: found 1.5, wanted 0"));
  EXPECT_THAT(run_error({"data.split_joined_rate=nan"}), HasSubstr("joined_rate: found nan"));
  EXPECT_EQ(run_error({"data.fim_rate=0.1", "data.split_joined_rate=1"}), "");
  EXPECT_THAT(run_error({"cluster.threads=0"}), HasSubstr("cluster.threads: found 0"));
  EXPECT_THAT(run_error({"parallel.data=-1"}), HasSubstr("parallel.data: found -1"));
  EXPECT_THAT(run_error({"cluster.slow_steps=0"}), HasSubstr("cluster.slow_steps: found 0"));
  EXPECT_THAT(run_error({"train.optimizer.ema_decay=1"}),
              EndsWith("train.optimizer.ema_decay: found 1, wanted a number of at least 0 and less "
                       "than 1"));
  EXPECT_EQ(run_error({"train.optimizer.warmup_steps=0", "train.routing.gamma=0",
                       "train.optimizer.moments=BF16", "train.optimizer.ema_decay=0.999"}), "");
}

TEST(ValidateRun, TracesStepsThatTheRunHas) {
  EXPECT_EQ(run_error({"train.steps=4", "cluster.trace.steps=3"}), "");
  EXPECT_EQ(run_error({"train.steps=4", "cluster.trace.steps=4", "cluster.trace.after_steps=0"}), "");
  EXPECT_EQ(run_error({"train.steps=1"}), "") << "none are wanted";
  EXPECT_THAT(run_error({"train.steps=4", "cluster.trace.steps=4"}),
              HasSubstr("cluster.trace.steps: found 4 behind step 1, wanted a last one that train.steps has, 4"));
  EXPECT_THAT(run_error({"cluster.trace.steps=1001"}), HasSubstr("cluster.trace.steps: found 1001, wanted 0 to 1000"));
  EXPECT_THAT(run_error({"cluster.trace.after_steps=-1"}), HasSubstr("cluster.trace.after_steps: found -1"));
}

TEST(ValidateRun, ALeaseNamesItsEtcdAndItsRunAndIsOfSeveralProcesses) {
  const auto with = [](std::vector<std::string> more) {
    more.insert(more.begin(), "cluster.nodes=2");
    return run_error(more);
  };
  const std::string etcd = "cluster.lease.etcd=http://10.0.0.9:2379", name = "cluster.lease.name=run-7.b";

  EXPECT_EQ(with({etcd, name}), "");
  EXPECT_THAT(with({name}), HasSubstr("cluster.lease.etcd: found nothing, wanted where etcd answers"));
  EXPECT_THAT(with({etcd}), HasSubstr("cluster.lease.name: found nothing, wanted 1 to 64 letters"));
  EXPECT_THAT(with({etcd, "cluster.lease.name=a/b"}), HasSubstr("cluster.lease.name: found a/b"));
  EXPECT_THAT(with({name, "cluster.lease.etcd=10.0.0.9:2379"}), HasSubstr("wanted http://HOST:PORT"));
  EXPECT_THAT(with({name, "cluster.lease.etcd=http://10.0.0.9:2379/x"}),
              HasSubstr("wanted http://HOST:PORT"));
  EXPECT_THAT(with({etcd, name, "cluster.lease.seconds=1"}),
              HasSubstr("cluster.lease.seconds: found 1, wanted 2 to 600"));
  EXPECT_THAT(run_error({etcd, name}), HasSubstr("cluster.lease: found one with cluster.nodes 1"));
}

TEST(ValidateRun, ListsEveryProblem) {
  EXPECT_EQ(run_error({"train.steps=0", "train.micro_batches=0"}),
            "--set train.steps=0: train.steps: found 0, wanted 1 to 1099511627776\n"
            "--set train.micro_batches=0: train.micro_batches: found 0, wanted 1 to 1048576");
}

TEST(ValidateRun, NamesTheLineOfAValueInTheFile) {
  LoadedRun run = tiny_run();
  run.run.mutable_data()->set_seq_len(5000);

  EXPECT_THAT(error_of([&] { validate(run, model_of(run)); }),
              HasSubstr("pretrain_tiny.textproto:7:3: data.seq_len: found 5000, wanted at most "
                        "max_positions of the model, 4096"));
}

TEST(ValidateRun, FitsDataToTheModel) {
  EXPECT_THAT(run_error({"data.seq_len=2"}), HasSubstr("data.seq_len: found 2, wanted 3 to 4096"));
  EXPECT_EQ(run_error({"data.seq_len=2", "model.with.mtp_layers=0"}), "");
  EXPECT_THAT(run_error({"data.tokenizer.train.vocab_size=512"}),
              EndsWith("found 512, wanted vocab_size of the model, 1024"));
  EXPECT_EQ(run_error({"data.tokenizer.file=t.json"}), "");
}

TEST(ValidateRun, NeedsDataStepsAndTokenizer) {
  LoadedRun run = tiny_run();
  run.run.clear_data();
  run.run.mutable_train()->clear_steps();

  const std::string error = error_of([&] { validate(run, model_of(run)); });

  EXPECT_THAT(error, HasSubstr("data.text: found no file, wanted at least one of"));
  EXPECT_THAT(error, HasSubstr("data.tokenizer: found nothing"));
  EXPECT_THAT(error, HasSubstr("train.steps: found nothing"));
}

/// The tiny run with `sources` instead of its text.
LoadedRun mixed(const std::string& sources) {
  LoadedRun run = tiny_run();
  Run mixture;
  run.origins = parse_textproto("mix.textproto", "data { " + sources + " }", mixture);
  run.run.mutable_data()->clear_text();
  run.run.MergeFrom(mixture);
  return run;
}

std::string mixture_error(const std::string& sources) {
  return error_of([&] {
    const LoadedRun run = mixed(sources);
    validate(run, model_of(run));
  });
}

TEST(ValidateRun, SourcesOfAMixtureHaveNamesFilesAndWeights) {
  EXPECT_EQ(mixture_error("source { name: 'a' text: 'x' } source { name: 'b' tokens: 'y' weight: 3 "
                          "holdout: 0 }"),
            "");
  EXPECT_EQ(mixture_error("source { text: 'x' }"),
            "mix.textproto:1:8: data.source[0].name: found nothing, wanted a name for messages");
  EXPECT_THAT(mixture_error("source { name: 'a' text: 'x' } source { name: 'a' text: 'y' }"),
              HasSubstr("data.source[1].name: found a, the name of another source"));
  EXPECT_THAT(mixture_error("source { name: 'a' }"),
              HasSubstr("data.source[0]: found no file, wanted at least one of text, jsonl"));
  EXPECT_THAT(mixture_error("source { name: 'a' text: 'x' weight: 0 }"),
              HasSubstr("data.source[0].weight: found 0, wanted 0.001 to 1000"));
  EXPECT_THAT(mixture_error("source { name: 'a' text: 'x' holdout: 1 }"),
              HasSubstr("data.source[0].holdout: found 1"));
  EXPECT_THAT(mixture_error("text: 'z' source { name: 'a' text: 'x' }"),
              HasSubstr("data.source: found files of data beside it, wanted all files in a"));
  EXPECT_THAT(mixture_error("source { name: 'a' tokens: 'x' }"),
              HasSubstr("data.tokenizer.train: found no text to train on"));
}

TEST(ValidateRun, MissingFileOfASourceIsNamed) {
  EXPECT_THAT(error_of([] { validate_files(mixed("source { name: 'a' jsonl: '/no/file' }")); }),
              HasSubstr("data.source[0].jsonl[0]: found no file /no/file"));
}

TEST(ValidateRun, RefusesByNameWhatIsNotThereYet) {
  const auto error = [](const std::string& setting) {
    return error_of([&] { validate_available(tiny_run({setting})); });
  };

  EXPECT_THAT(error("train.attention_form=ABSORBED"),
              HasSubstr("train.attention_form: found ABSORBED, which is not available yet, wanted "
                        "EXPANDED"));
  EXPECT_THAT(error_of([] {
                validate_available(tiny_run({"cluster.nodes=2", "train.unit_hashes=true"}));
              }),
              HasSubstr("train.unit_hashes: found true with cluster.nodes 2, which is not"));
  EXPECT_EQ(error("cluster.nodes=2"), "");
}

TEST(ValidateRun, TakesWhatCanBePlanned) {
  EXPECT_EQ(run_error({"cluster.nodes=2048", "parallel.schedule=DUALPIPE"}), "");
  EXPECT_THAT(run_error({"cluster.nodes=0"}), HasSubstr("cluster.nodes: found 0, wanted 1 to"));
  EXPECT_EQ(run_error({"cluster.nodes=2", "cluster.redundancy=1"}), "");
  EXPECT_THAT(run_error({"cluster.nodes=2", "cluster.redundancy=2"}),
              HasSubstr("cluster.redundancy: found 2, wanted 0 to 1"));
  EXPECT_THAT(run_error({"cluster.redundancy=1"}),
              HasSubstr("cluster.redundancy: found 1, wanted 0 to 0"));
  EXPECT_THAT(run_error({"checkpoint.every=0"}), HasSubstr("checkpoint.every: found 0"));
  EXPECT_THAT(run_error({"checkpoint.keep=0"}), HasSubstr("checkpoint.keep: found 0"));
}

TEST(ValidateRun, TensorCoresNeedTheirGpuAndBf16) {
  EXPECT_THAT(run_error({"train.arithmetic=SM_90A", "train.precision=BF16"}),
              HasSubstr("train.arithmetic: found SM_90A with cluster.device CPU, wanted"));
  EXPECT_THAT(run_error({"train.arithmetic=SM_90A", "cluster.device=CUDA"}),
              HasSubstr("SM_90A with train.precision FP32, wanted precision BF16 or FP8"));
  EXPECT_EQ(run_error({"train.arithmetic=SM_90A", "cluster.device=CUDA", "train.precision=FP8"}),
            run_error({"cluster.device=CUDA", "train.precision=FP8"}));
  EXPECT_EQ(run_error({"train.arithmetic=SM_90A", "cluster.device=CUDA", "train.precision=BF16"}),
            "");
}

TEST(ValidateRun, PromotionIsLeftOutInFp8AloneAndNotByTheGpusSimpleKernels) {
  const std::string never = "train.promotion=NEVER", fp8 = "train.precision=FP8", cuda = "cluster.device=CUDA";

  EXPECT_EQ(run_error({never, fp8}), "");
  EXPECT_EQ(run_error({never, fp8, cuda}), "");
  EXPECT_EQ(run_error({never, fp8, cuda, "train.arithmetic=SM_90A"}), "");
  EXPECT_EQ(run_error({"train.promotion=EVERY_128"}), "");
  EXPECT_THAT(run_error({never}),
              EndsWith("train.promotion: found NEVER with train.precision FP32, wanted precision FP8"));
  EXPECT_THAT(run_error({never, "train.precision=BF16", cuda}), HasSubstr("NEVER with train.precision BF16"));
  EXPECT_THAT(run_error({never, fp8, cuda, "train.arithmetic=CPU"}),
              EndsWith("found NEVER with train.arithmetic CPU and cluster.device CUDA, wanted arithmetic "
                       "SM_90A, or cluster.device CPU"));
}

TEST(ValidateModel, RefusesWhatRoutingCannotUse) {
  EXPECT_THAT(model_error({"model.with.expert_groups=3"}),
              EndsWith("expert_groups: found 3, wanted a divisor of experts, 16"));
  EXPECT_THAT(model_error({"model.with.expert_groups=16"}),
              HasSubstr("found 16, wanted at most 8"));
  EXPECT_THAT(model_error({"model.with.top_groups=5"}),
              HasSubstr("top_groups: found 5, wanted 1 to 4"));
  EXPECT_THAT(model_error({"model.with.experts_per_token=9"}),
              EndsWith("found 9, wanted at most 8: top_groups 2 of 4 experts each"));
  EXPECT_EQ(model_error({"model.with.experts_per_token=8"}), "");
}

TEST(ValidateModel, RefusesSizesThatAreMissingOrAbsurd) {
  EXPECT_THAT(model_error({"model.with.qk_rope_head_dim=15"}), HasSubstr("wanted an even number"));
  EXPECT_THAT(model_error({"model.with.layers=2000000000"}), HasSubstr("layers: found 2000000000"));
  EXPECT_EQ(model_error({"model.with.mtp_layers=2"}), "");
  EXPECT_THAT(model_error({"model.with.mtp_layers=5"}), HasSubstr("mtp_layers: found 5"));
  EXPECT_THAT(run_error({"data.seq_len=3", "model.with.mtp_layers=2"}),
              HasSubstr("data.seq_len: found 3, wanted 4 to"));
  EXPECT_THAT(model_error({"model.with.dense_layers=9"}), HasSubstr("wanted 0 to 8"));
  LoadedModel empty;
  const std::string error = error_of([&] { validate(empty); });
  for (const char* field : {"vocab_size", "hidden_size", "layers", "heads", "kv_lora_rank",
                            "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"}) {
    EXPECT_THAT(error, HasSubstr(std::string(field) + ": found 0"));
  }
}

TEST(ValidateModel, RefusesAmountsThatNoFileHolds) {
  EXPECT_THAT(model_error({"model.with.experts=65536"}),
              HasSubstr("experts: found 524288 in 8 layers, wanted at most 262144 in all"));
  EXPECT_THAT(model_error({"model.with.hidden_size=1048576", "model.with.vocab_size=16777216",
                           "model.with.dense_intermediate_size=1048576"}),
              HasSubstr("hidden_size: found sizes that make "));
}

TEST(ValidateModel, AModelWithoutExpertsNeedsNoSizesOfExperts) {
  LoadedModel model = model_of(tiny_run({"model.with.mtp_layers=0", "model.with.dense_layers=8"}));
  model.model.clear_experts();
  model.model.clear_expert_intermediate_size();

  EXPECT_NO_THROW(validate(model));
}

TEST(ValidateModel, FitsKeyHeadsToTheAttention) {
  const auto error_with = [](std::vector<std::string> settings) {
    for (std::string& setting : settings) setting = "model.with." + setting;
    return model_error(settings);
  };

  EXPECT_EQ(error_with({"attention=GQA", "kv_heads=2", "head_dim=16"}), "");
  EXPECT_EQ(error_with({"attention=MHA", "head_dim=16"}), "");
  EXPECT_EQ(error_with({"attention=MHA", "kv_heads=4", "head_dim=16"}), "");
  EXPECT_THAT(error_with({"attention=GQA", "kv_heads=3", "head_dim=16"}),
              EndsWith("kv_heads: found 3, wanted a divisor of heads, 4"));
  EXPECT_THAT(error_with({"attention=GQA", "head_dim=16"}),
              EndsWith("kv_heads: found nothing, wanted a divisor of heads, 4"));
  EXPECT_THAT(error_with({"attention=GQA", "kv_heads=-2", "head_dim=16"}),
              HasSubstr("kv_heads: found -2"));
  EXPECT_THAT(error_with({"attention=MHA", "kv_heads=2", "head_dim=16"}),
              EndsWith("kv_heads: found 2, wanted nothing, or heads, 4: attention is MHA"));
  EXPECT_THAT(error_with({"attention=MHA", "head_dim=15"}),
              EndsWith("head_dim: found 15, wanted an even number: rotary positions turn pairs"));
  EXPECT_THAT(error_with({"attention=MHA"}), HasSubstr("head_dim: found 0, wanted 2 to"));
  EXPECT_THAT(error_with({"kv_heads=2"}),
              EndsWith("kv_heads: found 2, wanted nothing, or attention GQA or MHA"));
  EXPECT_THAT(error_with({"head_dim=16"}), HasSubstr("head_dim: found 16, wanted nothing"));
}

TEST(ValidateModel, ChecksYarn) {
  EXPECT_EQ(
      model_error({"model.with.yarn.factor=40", "model.with.yarn.original_max_position=4096"}), "");
  EXPECT_THAT(model_error({"model.with.yarn.factor=0.5"}), HasSubstr("yarn.factor: found 0.5"));
  EXPECT_THAT(model_error({"model.with.yarn.factor=4", "model.with.yarn.beta_fast=0.1"}),
              HasSubstr("yarn.beta_fast: found 0.1, wanted at least beta_slow, 1"));
}

TEST(ValidateFiles, NamesAMissingFile) {
  const LoadedRun run = tiny_run({"data.text=/no/such.txt"});

  EXPECT_EQ(
      error_of([&] { validate_files(run); }),
      "--set data.text=/no/such.txt: data.text[0]: found no file /no/such.txt, wanted a file");
}

}  // namespace
}  // namespace troupe::config
