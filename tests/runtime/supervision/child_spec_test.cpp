#include "runtime/supervision/child_spec.h"

#include <gtest/gtest.h>

namespace troupe::runtime {
namespace {

using std::chrono::milliseconds;
using Fields = std::map<std::string, std::string>;

template <class F>
SpecErrc error_of(F f) {
  try {
    f();
  } catch (const SpecError& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return {};
}

// Scenario 3.
TEST(ChildSpec, HasErlangsDefaults) {
  const ChildSpec worker = checked(read_child_spec({{"id", "c"}, {"start", "s"}}), {});
  const ChildSpec supervisor =
      checked(read_child_spec({{"id", "c"}, {"start", "s"}, {"type", "supervisor"}}), {});
  const ChildSpec brutal =
      checked(read_child_spec({{"id", "c"}, {"start", "s"}, {"shutdown", "brutal_kill"}}), {});

  EXPECT_EQ(worker.restart, Restart::permanent);
  EXPECT_EQ(worker.type, ChildType::worker);
  EXPECT_FALSE(worker.significant);
  EXPECT_EQ(worker.shutdown, Shutdown::after(milliseconds(5000)));
  EXPECT_EQ(supervisor.shutdown, Shutdown::infinity());
  EXPECT_EQ(brutal.shutdown, Shutdown::brutal_kill());
}

// Scenario 3.
TEST(ChildSpec, IgnoresKeysThatItDoesNotKnow) {
  const ChildSpec spec = read_child_spec({{"id", "c"}, {"start", "s"}, {"colour", "red"}});

  EXPECT_EQ(spec, (ChildSpec{.id = "c", .start = "s"}));
}

// Scenario 3.
TEST(ChildSpec, HasAnErrorForEachMistake) {
  const auto code = [](Fields fields, AutoShutdown auto_shutdown = AutoShutdown::never) {
    return error_of([&] { checked(read_child_spec(fields), auto_shutdown); });
  };
  const auto with = [](const std::string& key, const std::string& value) {
    return Fields{{"id", "c"}, {"start", "s"}, {key, value}};
  };

  EXPECT_EQ(code({{"start", "s"}}), SpecErrc::missing_id);
  EXPECT_EQ(code({{"id", "c"}}), SpecErrc::missing_start);
  EXPECT_EQ(code(with("restart", "always")), SpecErrc::bad_restart);
  EXPECT_EQ(code(with("shutdown", "-1")), SpecErrc::bad_shutdown);
  EXPECT_EQ(code(with("shutdown", "5s")), SpecErrc::bad_shutdown);
  EXPECT_EQ(code(with("shutdown", "9223372036854775807")), SpecErrc::bad_shutdown);
  EXPECT_EQ(code(with("type", "boss")), SpecErrc::bad_type);
  EXPECT_EQ(code(with("significant", "yes")), SpecErrc::bad_significant);
  EXPECT_EQ(code(with("significant", "true"), AutoShutdown::any_significant),
            SpecErrc::bad_significant);
  Fields transient = with("significant", "true");
  transient["restart"] = "transient";
  EXPECT_EQ(code(transient), SpecErrc::bad_significant) << "auto_shutdown is never";
}

TEST(SupervisorFlags, HaveAnErrorForEachMistake) {
  const auto code = [](SupervisorFlags flags) { return error_of([&] { check(flags); }); };

  EXPECT_EQ(code({.intensity = -1}), SpecErrc::bad_intensity);
  EXPECT_EQ(code({.period = std::chrono::seconds(0)}), SpecErrc::bad_period);
  EXPECT_EQ(code({.backoff = BackoffBounds{milliseconds(2), milliseconds(1)}}),
            SpecErrc::bad_backoff);
  EXPECT_NO_THROW(check({}));
}

TEST(ChildSpec, IdsAreUniqueAndADynamicSupervisorHasOneTemplate) {
  const ChildSpec spec{.id = "c", .start = "s"};
  const SupervisorFlags simple{.strategy = Strategy::simple_one_for_one};

  EXPECT_EQ(error_of([&] { checked({spec, spec}, SupervisorFlags{}); }), SpecErrc::duplicate_id);
  EXPECT_EQ(error_of([&] { checked(std::vector<ChildSpec>{}, simple); }), SpecErrc::bad_template);
}

}  // namespace
}  // namespace troupe::runtime
