#include "deploy/bench/kernels/peer_library.h"

#include <dlfcn.h>
#include <gmock/gmock.h>

#include <exception>

namespace troupe::deploy::kernel_bench {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(PeerLibrary, AFileThatIsNotThereOrNoLibraryIsNamed) {
  EXPECT_THAT([] { PeerLibrary("nosuch.so"); },
              ThrowsMessage<std::runtime_error>(AllOf(HasSubstr("--peers: "), HasSubstr("/nosuch.so"))));
  EXPECT_THAT([] { PeerLibrary(TROUPE_SOURCE_DIR "/README.md"); },
              ThrowsMessage<std::runtime_error>(AllOf(HasSubstr("--peers: "), HasSubstr("/README.md"))));
}

TEST(PeerLibrary, AnotherLibraryIsRefused) {
  Dl_info standard{};
  ASSERT_NE(dladdr(reinterpret_cast<const void*>(&std::terminate), &standard), 0);

  EXPECT_THAT([&] { PeerLibrary{std::string(standard.dli_fname)}; },
              ThrowsMessage<std::runtime_error>(AllOf(HasSubstr(standard.dli_fname),
                                                      HasSubstr("has no function troupe_kernel_peers"))));
}

TEST(PeerLibrary, AnotherVersionOfTheInterfaceIsRefused) {
  EXPECT_THAT([] { PeerLibrary(TROUPE_OLDER_PEERS); },
              ThrowsMessage<std::runtime_error>(HasSubstr("has version 0 of the interface, wanted 1")));
}

}  // namespace
}  // namespace troupe::deploy::kernel_bench
