// Reads the cells of another process, or of one that has been killed. Nothing in a file is trusted.
#pragma once

#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/telemetry/cell_clock.h"
#include "runtime/telemetry/cell_look.h"
#include "runtime/telemetry/cells.h"
#include "runtime/telemetry/process_status.h"

namespace troupe::runtime {

class CellError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One life of an actor at one moment. Texts are printable.
struct CellView {
  std::string role, name, parent;
  uint64_t incarnation = 0;
  uint32_t restarts = 0;
  CellState state = CellState::starting;
  uint64_t mailbox = 0;   ///< messages that have arrived and not begun
  int64_t parked = 0;     ///< messages that credit holds back
  uint64_t messages = 0;  ///< that have ended
  uint64_t bytes = 0;
  uint64_t step = 0;
  uint64_t life_ns = 0;  ///< from its begin until its end or now
  uint64_t busy_ns = 0;  ///< of it in messages, the present one included
  std::string message;   ///< the present one, "an answer" where it is none of its own; empty: none
  uint64_t turn = 0;     ///< another one has another
  UnitTag unit;
  uint64_t message_ns = 0;  ///< how long it has been at it
  std::string waits_for;    ///< empty: nothing
  uint64_t wait_detail = 0;
  uint64_t wait_ns = 0;
  std::string last_error;  ///< empty: none
  std::string end_reason;
  uint64_t ended_ns = 0;  ///< how long ago; of the living 0
  bool is_dead = false;
};

/// A process and its actors.
struct GlassView {
  std::filesystem::path path;
  std::string run_folder;
  pid_t pid = 0;
  uint64_t process_start = 0;
  uint64_t pid_namespace = 0;
  uint64_t created_unix_us = 0;
  ProcessState process = ProcessState::running;
  std::vector<CellView> cells;  ///< in the order in which their cells were first used
};

/// Reads by `read`; `name` stands for the file in messages. Ages are until `now`, or, if the
/// process has ended, until the last moment that a cell knows. Throws CellError if it is no cell
/// file.
GlassView view_cells(const ReadBytes& read, const std::string& name, CellMoment now,
                     ProcessState process);

/// A file's bytes, apart from files.
GlassView parse_cells(std::span<const uint8_t> bytes, const std::string& name, CellMoment now);

/// Reads a file, and asks /proc about its process. Throws CellError.
GlassView read_cells(const std::filesystem::path& path);

/// "idle"
std::string to_string(CellState state);

}  // namespace troupe::runtime
