#include "actors/messages/post_office.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/actors/spread_run.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using kernels::Device;

// Where the plane knows a GPU's memory, tensors there travel as they are, without the host. Shared memory is the
// host's: it is not copied.
TEST(PostOffice, WhatAGpuReachesTooLeavesTheProcessAsTheHosts) {
  const Recipe recipe = small_recipe();
  const SpreadArgs args{.layout = {1, 1, 1, 2, 1, 2}, .processes = 2};
  kernels::ThreadPool pool(1);
  runtime::StateArena arena(kernels::parameters(recipe.shape), state_format(recipe));
  Company company(recipe, spread_plan(args, recipe), arena, pool, BatchSource());
  std::vector<runtime::Parcel> received;
  const auto there = runtime::make_local_plane(
      {.received = [&](int, runtime::Parcel parcel) { received.push_back(std::move(parcel)); },
       .lost = {}});
  const auto here = runtime::make_local_plane({.received = {}, .lost = {}});
  here->connect(1, there->address());
  there->connect(0, here->address());
  company.office.set_plane(here.get());
  kernels::Buffer table = kernels::allocate(kernels::DType::i32, {3});
  table.view.device = Device::shared;
  kernels::Buffer rows = kernels::allocate(kernels::DType::f32, {2, 3});
  rows.view.device = Device::cuda;  // nobody reads it here

  company.office.send({Role::optimizer_shard, 0, 0, 1}, Verb::gradients,
                      {wire::TokenHeader(), {{table.view, table.memory}, {rows.view, rows.memory}}});

  ASSERT_EQ(received.size(), 1u);
  ASSERT_EQ(received[0].tensors.size(), 2u);
  EXPECT_EQ(received[0].tensors[1].view.device, Device::cuda);
  EXPECT_EQ(received[0].tensors[1].view.data, rows.view.data);
  EXPECT_EQ(received[0].tensors[0].view.device, Device::cpu);
  EXPECT_EQ(received[0].tensors[0].view.data, table.view.data);
}

}  // namespace
}  // namespace troupe::tests
