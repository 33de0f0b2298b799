#include "runtime/checkpoint/safetensors_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/runtime/checkpoint/fixtures.h"

namespace troupe::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string header_error(const std::string& header, size_t data_bytes) {
  const std::string file = safetensors_text(header, data_bytes);
  return error_of([&] { parse_header(bytes_of(file), "a"); });
}

TEST(SafetensorsHeader, ListsTensorsByTheirPlace) {
  const std::string header = R"({"__metadata__":{"format":"pt"},)"
                             R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},)"
                             R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
                             R"("c":{"dtype":"F8_E4M3","shape":[],"data_offsets":[28,29]}})";
  const std::string file = safetensors_text(header, 29);

  const SafetensorsHeader parsed = parse_header(bytes_of(file), "a");

  ASSERT_EQ(parsed.tensors.size(), 3u);
  EXPECT_EQ(parsed.tensors[0].name, "a");
  EXPECT_EQ(parsed.tensors[0].begin, 8 + header.size());
  EXPECT_EQ(parsed.tensors[1].name, "b");
  EXPECT_THAT(parsed.tensors[1].shape, ElementsAre(2, 3));
  EXPECT_EQ(parsed.tensors[1].dtype, FileDType::f32);
  EXPECT_EQ(parsed.tensors[2].count(), 1);
  EXPECT_EQ(parsed.tensors[2].end, file.size());
  EXPECT_EQ(parsed.metadata.at("format"), "pt");
}

TEST(SafetensorsHeader, TakesEmptyTensorsAndNone) {
  EXPECT_EQ(header_error(R"({"a":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
                         R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                         R"("c":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}})",
                         4),
            "");
  EXPECT_EQ(header_error("{}   ", 0), "");
}

TEST(SafetensorsHeader, RefusesLengthsThatCannotBe) {
  EXPECT_EQ(error_of([] { parse_header({}, "a"); }),
            "a: found 0 bytes, wanted a safetensors file of at least 8");
  std::string file = safetensors_text("{}", 0);
  file[0] = 3;
  EXPECT_EQ(error_of([&] { parse_header(bytes_of(file), "a"); }),
            "a: found a header of 3 bytes, wanted at most 2");
  file[7] = '\xff';
  EXPECT_THAT(error_of([&] { parse_header(bytes_of(file), "a"); }), HasSubstr("at most 2"));
}

TEST(SafetensorsHeader, RefusesGapsOverlapsAndWrongSizes) {
  const auto two = [](const char* first, const char* second, size_t bytes) {
    return header_error(std::string(R"({"x":{"dtype":"U8","shape":[4],"data_offsets":)") + first +
                            R"(},"y":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
                        bytes);
  };
  EXPECT_EQ(two("[0,4]", "[4,8]", 8), "");
  EXPECT_EQ(two("[0,4]", "[5,9]", 9),
            "a: tensor y begins at byte 5 of the data, wanted 4, where the one before ends");
  EXPECT_THAT(two("[0,4]", "[3,7]", 8), HasSubstr("tensor y begins at byte 3"));
  EXPECT_THAT(two("[1,5]", "[5,9]", 9), HasSubstr("tensor x begins at byte 1"));
  EXPECT_EQ(two("[0,4]", "[4,8]", 9), "a: found 9 bytes of data, wanted the tensors' 8");
  EXPECT_EQ(two("[0,4]", "[4,8]", 7), "a: found 7 bytes of data, wanted the tensors' 8");
  EXPECT_EQ(two("[0,4]", "[4,9]", 9),
            "a: tensor y: found data_offsets [4, 9], wanted the bytes of U8 [4]");
  EXPECT_THAT(two("[0,4]", "[8,4]", 8), HasSubstr("tensor y: found data_offsets [8, 4]"));
}

TEST(SafetensorsHeader, RefusesShapesWhoseBytesOverflow) {
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],)"
                           R"("data_offsets":[0,0]}})",
                           0),
              HasSubstr("tensor a: found data_offsets [0, 0]"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[18446744073709551615],)"
                           R"("data_offsets":[0,18446744073709551615]}})",
                           0),
              HasSubstr("shape: found 18446744073709551615, wanted a shape that fits a file"));
}

TEST(SafetensorsHeader, RefusesNamesAndKeysThatStandTwice) {
  const std::string tensor = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  EXPECT_EQ(header_error("{\"a\":" + tensor + ",\"a\":" + tensor + "}", 0),
            "a: header: found tensor a twice, wanted each name once");
  EXPECT_THAT(
      header_error(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0),
      HasSubstr("tensor a: dtype: found dtype twice"));
}

TEST(SafetensorsHeader, RefusesWhatTheFormatDoesNotHave) {
  EXPECT_EQ(header_error(R"({"a":{"dtype":"Q4","shape":[0],"data_offsets":[0,0]}})", 0),
            "a: header: tensor a: dtype: found Q4, wanted a dtype of whole bytes that is known "
            "here, as F32, BF16 or F8_E4M3");
  EXPECT_EQ(header_error(R"({"a":{"shape":[0],"data_offsets":[0,0]}})", 0),
            "a: header: tensor a: found no dtype, wanted it");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})", 0),
            "a: header: tensor a: shape: found -1, wanted a whole number of at least 0");
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,0]}})", 0),
              HasSubstr("found 1.0"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}})", 0),
              HasSubstr("found 1 data_offsets, wanted begin and end"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[[0]],"data_offsets":[0,0]}})", 0),
              HasSubstr("found a list"));
  EXPECT_THAT(header_error(R"({"a":{"color":1}})", 0), HasSubstr("found the key color"));
  EXPECT_THAT(header_error(R"({"a":null})", 0), HasSubstr("found null, wanted an object"));
  EXPECT_THAT(header_error(R"({"__metadata__":{"n":1}})", 0), HasSubstr("__metadata__: found 1"));
  EXPECT_THAT(header_error("[]", 0), HasSubstr("found a list, wanted one JSON object"));
  EXPECT_THAT(header_error("{} {}", 0), HasSubstr("found what is no JSON"));
  EXPECT_THAT(header_error("{\"\xff\":1}", 0), HasSubstr("found what is no JSON"));
  EXPECT_THAT(header_error("", 0), HasSubstr("found what is no JSON"));
  EXPECT_THAT(header_error(std::string(100000, '['), 0), HasSubstr("found a list"));
}

TEST(SafetensorsHeader, IsMadeAsItIsRead) {
  std::vector<TensorEntry> tensors{{"x \"y\"\n", FileDType::f32, {3}, 0, 0},
                                   {"\xc3\xa9", FileDType::bf16, {2, 2}, 0, 0}};

  const std::string header = make_header(tensors, {{"format", "pt"}});
  const std::string file = header + std::string(20, '\0');
  const SafetensorsHeader parsed = parse_header(bytes_of(file), "a");

  EXPECT_EQ(header.size() % 8, 0u);
  ASSERT_EQ(parsed.tensors.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(parsed.tensors[i].name, tensors[i].name);
    EXPECT_EQ(parsed.tensors[i].shape, tensors[i].shape);
    EXPECT_EQ(parsed.tensors[i].begin, tensors[i].begin);
    EXPECT_EQ(parsed.tensors[i].end, tensors[i].end);
  }
}

// Whatever the bytes are, they are accepted with every tensor inside the file, or refused.
TEST(SafetensorsHeader, SurvivesMutatedFiles) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},)"
      R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})";
  const std::string file = safetensors_text(header, 28);
  std::mt19937 random(11);

  int accepted = 0;
  for (int i = 0; i < 100000; ++i) {
    std::string mutated = file;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0 && !mutated.empty(); --edits) {
      const size_t at =
          random() % (random() % 4 == 0 ? mutated.size()
                                        : std::min<size_t>(mutated.size(), 8 + header.size()));
      switch (random() % 4) {
        case 0:
          mutated[at] = static_cast<char>(random());
          break;
        case 1:
          mutated[at] = "0123456789{}[],:\"-. eE"[random() % 22];
          break;
        case 2:
          mutated.resize(at);
          break;
        default:
          mutated.insert(at, 1, "0123456789{}[],:\"-. eE"[random() % 22]);
      }
    }
    const std::string error = error_of([&] {
      const SafetensorsHeader parsed = parse_header(bytes_of(mutated), "a");
      for (const TensorEntry& tensor : parsed.tensors) {
        ASSERT_LE(tensor.begin, tensor.end);
        ASSERT_LE(tensor.end, mutated.size());
        ASSERT_EQ(static_cast<uint64_t>(tensor.count() * size_of(tensor.dtype)),
                  tensor.end - tensor.begin);
      }
      ++accepted;
    });
    if (!error.empty()) {
      ASSERT_THAT(error, testing::StartsWith("a: "));
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(accepted, 60000);
}

}  // namespace
}  // namespace troupe::runtime
