// A cell file as another process reads it: raw bytes, cells under a header that is right, and cells
// that change at every look.
#include <cstdlib>
#include <cstring>
#include <memory>

#include "runtime/data/tokenizer/utf8.h"
#include "runtime/telemetry/cell_reader.h"

using namespace troupe::runtime;

constexpr CellMoment now{uint64_t{1} << 50, uint64_t{1} << 49};
constexpr size_t most_cells = 16, names_here = 4;

static void check_text(const std::string& text) {
  if (find_invalid_utf8(text) != std::string::npos) std::abort();
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) std::abort();
  }
}

/// What goes to a terminal is printable.
static void check(const GlassView& view) {
  check_text(view.run_folder);
  for (const CellView& cell : view.cells) {
    for (const std::string* text : {&cell.role, &cell.name, &cell.parent, &cell.message,
                                    &cell.waits_for, &cell.last_error, &cell.end_reason}) {
      check_text(*text);
    }
    if (cell.parked < 0 || to_string(cell.state) == "unknown") std::abort();
  }
}

/// A header that is right in all that is checked; clock, names and folder come from `bytes`.
static std::string with_header(std::string& bytes, size_t cells) {
  const auto header = std::make_unique<FileHeader>();
  header->magic = cell_file_magic;
  header->version = cell_file_version;
  header->cell_bytes = sizeof(CellSlot);
  header->cell_count = cell_capacity;
  header->name_count = name_capacity;
  header->pid = 1;
  header->cells_used = static_cast<uint32_t>(cells);
  header->names_used = names_here;
  const auto take = [&](void* to, size_t size) {
    const size_t n = std::min(size, bytes.size());
    std::memcpy(to, bytes.data(), n);
    bytes.erase(0, n);
  };
  take(&header->is_tsc, sizeof header->is_tsc);
  take(&header->base_ticks, 2 * sizeof header->base_ticks);
  take(header->names, names_here * name_bytes);
  take(header->run_folder, 64);
  return {reinterpret_cast<const char*>(header.get()), sizeof *header};
}

static void read_steady(std::string bytes) {
  std::string file = with_header(bytes, 0);
  const auto count = static_cast<uint32_t>(std::min(bytes.size() / sizeof(CellSlot), most_cells));
  std::memcpy(file.data() + offsetof(FileHeader, cells_used), &count, sizeof count);
  file += bytes;
  check(parse_cells({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, "cells", now));
}

/// Each look at the one cell gets the next bytes; when they are used up the file has been cut off.
static void read_changing(std::string bytes) {
  const std::string header = with_header(bytes, 1);
  size_t at = 0;
  const auto read = [&](uint64_t offset, void* to, size_t n) {
    if (offset == 0 && n <= header.size()) {
      std::memcpy(to, header.data(), n);
      return true;
    }
    if (bytes.size() - at < n) return false;
    std::memcpy(to, bytes.data() + at, n);
    at += n / 8;  // most of a look is the one before, moved on
    return true;
  };
  check(view_cells(read, "cells", now, ProcessState::ended));
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    if (data[0] % 3 == 0) read_steady(bytes);
    if (data[0] % 3 == 1) read_changing(bytes);
    if (data[0] % 3 == 2) {
      std::string file = bytes + std::string(sizeof(FileHeader), '\0');
      check(parse_cells({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, "cells", now));
    }
  } catch (const CellError&) {
  }
  return 0;
}
