#include "runtime/telemetry/cell_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>

#include "runtime/telemetry/printable.h"

namespace troupe::runtime {
namespace {

uint64_t get(const Word& word) { return word.load(std::memory_order_relaxed); }
uint32_t get(const HalfWord& word) { return word.load(std::memory_order_relaxed); }

template <size_t n>
std::string text_of(const Word (&words)[n]) {
  char bytes[n * 8];
  for (size_t i = 0; i < n; ++i) {
    const uint64_t word = get(words[i]);
    std::memcpy(bytes + 8 * i, &word, 8);
  }
  return printable({bytes, ::strnlen(bytes, sizeof bytes)});
}

std::unique_ptr<FileHeader> read_header(const ReadBytes& read, const std::string& name) {
  auto header = std::make_unique<FileHeader>();
  if (!read(0, header.get(), sizeof *header)) {
    throw CellError(name + " is no cell file: it is shorter than a header of " +
                    std::to_string(sizeof *header) + " bytes");
  }
  if (header->magic != cell_file_magic) {
    throw CellError(name + " is no cell file: it does not begin with TRPCELL1");
  }
  const auto expect = [&](const char* what, uint64_t found, uint64_t least, uint64_t most) {
    if (found >= least && found <= most) return;
    throw CellError(name + ": found " + what + " " + std::to_string(found) + ", wanted " +
                    std::to_string(least) + (least == most ? "" : " to " + std::to_string(most)));
  };
  expect("version", header->version, cell_file_version, cell_file_version);
  expect("bytes a cell", header->cell_bytes, sizeof(CellSlot), sizeof(CellSlot));
  expect("a number of cells of", header->cell_count, cell_capacity, cell_capacity);
  expect("a number of names of", header->name_count, name_capacity, name_capacity);
  expect("cells in use", get(header->cells_used), 0, cell_capacity);
  expect("names in use", get(header->names_used), 0, name_capacity);
  expect("process", header->pid, 1, INT32_MAX);
  return header;
}

/// Ticks to nanoseconds, at the rate of the time from the header's moment until now.
class Scale {
 public:
  Scale(const FileHeader& header, CellMoment now) {
    if (header.is_tsc == 0 || now.ticks <= header.base_ticks || now.ns <= header.base_ns) return;
    const double rate = static_cast<double>(now.ns - header.base_ns) /
                        static_cast<double>(now.ticks - header.base_ticks);
    if (rate > 1e-3 && rate < 1e3) rate_ = rate;
  }
  uint64_t ns(uint64_t ticks) const {
    return static_cast<uint64_t>(std::min(rate_ * static_cast<double>(ticks), 9e18));
  }
  uint64_t between(uint64_t from, uint64_t to) const { return to > from ? ns(to - from) : 0; }

 private:
  double rate_ = 1;
};

class CellParser {
 public:
  CellParser(const FileHeader& header, CellMoment now) : header_(header), scale_(header, now) {}

  CellView view(const CellSlot& slot, uint64_t now) const {
    CellView view;
    view.role = text_of(slot.role);
    view.name = text_of(slot.name);
    view.parent = text_of(slot.parent);
    view.incarnation = get(slot.incarnation);
    view.restarts = get(slot.restarts);
    view.bytes = get(slot.bytes);
    view.parked = std::max<int64_t>(static_cast<int64_t>(get(slot.parked)), 0);
    view.step = get(slot.step);
    const uint64_t ended = get(slot.ended);
    view.is_dead = ended != 0;
    view.ended_ns = view.is_dead ? scale_.between(ended, now) : 0;
    view.life_ns = scale_.between(get(slot.hired), view.is_dead ? ended : now);
    view.last_error = text_of(slot.error);
    view.end_reason = text_of(slot.end_reason);
    add_message(slot, view.is_dead ? ended : now, view);
    add_wait(slot, view.is_dead ? ended : now, view);
    view.state = state_of(slot, view);
    return view;
  }

 private:
  std::string name(uint64_t kind) const {
    if (kind >= get(header_.names_used)) return "#" + std::to_string(kind);
    const char* text = header_.names[kind];
    return printable({text, ::strnlen(text, name_bytes)});
  }

  void add_message(const CellSlot& slot, uint64_t now, CellView& view) const {
    const uint64_t began = get(slot.began);
    const uint64_t arrived = get(slot.arrived);
    view.messages = get(slot.handled);
    view.busy_ns = scale_.ns(get(slot.busy));
    const uint64_t begun = view.messages + (began != 0 ? 1 : 0);
    view.mailbox = arrived > begun ? arrived - begun : 0;
    const uint64_t resumed = get(slot.resumed);
    if (began == 0 && resumed != 0 && !view.is_dead) {
      view.message = "an answer";
      view.turn = resumed;
      view.message_ns = scale_.between(resumed, now);
    }
    if (began == 0) return;
    view.turn = began;
    view.message = name(get(slot.kind));
    if (view.message.empty()) view.message = "unnamed";
    view.unit = std::bit_cast<UnitTag>(get(slot.unit));
    view.message_ns = scale_.between(began, now);
    view.busy_ns += view.message_ns;
  }

  void add_wait(const CellSlot& slot, uint64_t now, CellView& view) const {
    const uint64_t since = get(slot.wait_since);
    if (since == 0) return;
    view.waits_for = name(get(slot.wait_kind));
    if (view.waits_for.empty()) view.waits_for = "unnamed";
    view.wait_detail = get(slot.wait_detail);
    view.wait_ns = scale_.between(since, now);
  }

  static CellState state_of(const CellSlot& slot, const CellView& view) {
    const uint32_t number = get(slot.state);
    const auto said =
        static_cast<CellState>(std::min(number, static_cast<uint32_t>(CellState::dead)));
    if (view.is_dead) return CellState::dead;
    if (said != CellState::starting && said != CellState::idle) return said;
    // A wait that began within the message is what it is at.
    const bool is_waiting = !view.waits_for.empty();
    if (!view.message.empty() && !(is_waiting && view.wait_ns <= view.message_ns)) {
      return CellState::running;
    }
    return is_waiting ? CellState::waiting : said;
  }

  const FileHeader& header_;
  const Scale scale_;
};

/// The last moment that a cell knows, not after `now`.
uint64_t last_moment(const std::vector<CellSlot>& slots, uint64_t base, uint64_t now) {
  uint64_t last = base;
  for (const CellSlot& slot : slots) {
    for (const uint64_t moment :
         {get(slot.began), get(slot.hired), get(slot.ended), get(slot.wait_since)}) {
      if (moment <= now) last = std::max(last, moment);
    }
  }
  return last;
}

}  // namespace

GlassView view_cells(const ReadBytes& read, const std::string& name, CellMoment now,
                     ProcessState process) {
  const auto header = read_header(read, name);
  GlassView view;
  if (header->is_tsc == 0) now.ticks = now.ns;
  view.pid = static_cast<pid_t>(header->pid);
  view.process_start = header->process_start;
  view.pid_namespace = header->pid_namespace;
  view.created_unix_us = header->created_unix_us;
  view.process = process;
  view.run_folder =
      printable({header->run_folder, ::strnlen(header->run_folder, run_folder_bytes)});
  std::vector<CellSlot> slots(get(header->cells_used));
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!look_at_cell(read, i, slots[i])) {
      throw CellError(name + " is cut off: found " + std::to_string(i) + " cells, wanted " +
                      std::to_string(slots.size()));
    }
  }
  const CellParser parser(*header, now);
  const bool has_ended = process == ProcessState::ended;
  const uint64_t until = has_ended ? last_moment(slots, header->base_ticks, now.ticks) : now.ticks;
  for (const CellSlot& slot : slots) {
    // Hired never, or just now.
    if (get(slot.life) != 0 && get(slot.life) % 2 == 0)
      view.cells.push_back(parser.view(slot, until));
  }
  return view;
}

GlassView parse_cells(std::span<const uint8_t> bytes, const std::string& name, CellMoment now) {
  const auto read = [bytes](uint64_t offset, void* to, size_t n) {
    if (offset > bytes.size() || bytes.size() - offset < n) return false;
    std::memcpy(to, bytes.data() + offset, n);
    return true;
  };
  return view_cells(read, name, now, ProcessState::running);
}

// Not mapped: a file that somebody cuts off would end us by a signal.
GlassView read_cells(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) throw CellError("cannot open " + path.string() + ": " + std::strerror(errno));
  const std::shared_ptr<const int> closing(&file, [](const int* f) { ::close(*f); });
  const auto read = [file](uint64_t offset, void* to, size_t n) {
    return ::pread(file, to, n, static_cast<off_t>(offset)) == static_cast<ssize_t>(n);
  };
  FileHeader header;
  ProcessState process = ProcessState::ended;
  if (read(0, &header, sizeof header)) {
    process = header.pid_namespace == pid_namespace()
                  ? process_state(static_cast<pid_t>(header.pid), header.process_start)
                  : ProcessState::unknown;
  }
  GlassView view = view_cells(read, path.string(), CellMoment::now(), process);
  view.path = path;
  return view;
}

std::string to_string(CellState state) {
  switch (state) {
    case CellState::starting:
      return "starting";
    case CellState::idle:
      return "idle";
    case CellState::running:
      return "running";
    case CellState::waiting:
      return "waiting";
    case CellState::stopping:
      return "stopping";
    case CellState::dead:
      return "dead";
  }
  return "unknown";
}

}  // namespace troupe::runtime
