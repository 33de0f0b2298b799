#include "config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/validate.h"
#include "tests/config/fixtures.h"

namespace troupe::config {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

TEST(Load, ReadsTheTinyRunAndItsModel) {
  const LoadedRun run = tiny_run();
  const LoadedModel model = model_of(run);

  EXPECT_EQ(run.name, "pretrain_tiny");
  EXPECT_THAT(run.run.data().text(0), EndsWith("/text/foldoc.dict.dz"));
  EXPECT_GE(run.run.train().steps(), 1);
  EXPECT_EQ(model.model.layers(), 8);
  EXPECT_NO_THROW(validate(model));
  EXPECT_NO_THROW(validate(run, model));
}

TEST(Load, EveryRunAndModelInTheProjectIsValid) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_file("config/models"))) {
    EXPECT_NO_THROW(validate(load_model(entry.path()))) << entry.path();
    ++files;
  }
  for (const auto& entry : std::filesystem::directory_iterator(source_file("config/runs"))) {
    const LoadedRun run = load_run(entry.path());
    EXPECT_NO_THROW(validate(run, model_of(run))) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 6);
}

TEST(Load, ChangesOfTheModelReplaceItsFieldsAndTheirPlaces) {
  const LoadedRun run = tiny_run({"model.with.mtp_layers=0", "model.with.heads=0"});
  const LoadedModel model = model_of(run);

  EXPECT_EQ(model.model.mtp_layers(), 0);
  EXPECT_EQ(model.model.hidden_size(), 128);
  EXPECT_EQ(error_of([&] { validate(model); }),
            "--set model.with.heads=0: heads: found 0, wanted 1 to 16384");
}

TEST(Load, AnUnsetFieldHasItsDefault) {
  const LoadedRun run = tiny_run();

  EXPECT_FALSE(run.run.has_parallel());
  EXPECT_FALSE(run.run.train().has_fixed_point_bits());
  EXPECT_EQ(run.run.train().fixed_point_bits(), 50);
  EXPECT_EQ(run.run.cluster().nodes(), 1);
}

TEST(Load, NamesAMissingModelFile) {
  const LoadedRun run = tiny_run({"model.file=no/model.textproto"});

  EXPECT_THAT(error_of([&] { model_of(run); }),
              HasSubstr("--set model.file=no/model.textproto: model.file: found no file "
                        "no/model.textproto, wanted a model textproto"));
}

TEST(Load, RefusesARunWithoutAModel) {
  LoadedRun run = tiny_run();
  run.run.clear_model();

  EXPECT_THAT(error_of([&] { model_of(run); }), HasSubstr("model.file: found nothing"));
}

TEST(Load, NamesTheFieldOfAWrongVariable) {
  EXPECT_THAT(error_of([] { tiny_run({"data.text=${x}/a"}); }),
              HasSubstr("--set data.text=${x}/a: data.text[0]: found ${x} in the path"));
}

}  // namespace
}  // namespace troupe::config
