// The bytes of a cell file: what every process of Troupe shows of its actors, read by others.
//
// A file is a FileHeader, the table of names, then `cell_count` cells. All numbers are in the
// machine's order: a file never leaves it. Words are atomics, so that a reader sees each of them
// whole; words that belong together stand under a sequence number, odd while they are written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace troupe::runtime {

constexpr uint64_t cell_file_magic = 0x314c4c4543505254u;  // "TRPCELL1"
constexpr uint32_t cell_file_version = 1;
constexpr uint32_t cell_capacity = 4096;
constexpr uint32_t name_capacity = 512;  ///< names of messages and of waits
constexpr size_t name_bytes = 32;        ///< with its final zero
constexpr size_t run_folder_bytes = 4096;

constexpr size_t role_bytes = 24, cell_name_bytes = 72, parent_bytes = 72;
constexpr size_t error_bytes = 104, end_reason_bytes = 48;

using Word = std::atomic<uint64_t>;
using HalfWord = std::atomic<uint32_t>;
static_assert(Word::is_always_lock_free && HalfWord::is_always_lock_free);

struct FileHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t cell_bytes;
  uint32_t cell_count;
  uint32_t name_count;
  uint32_t pid;
  uint32_t is_tsc;         ///< 1: ticks are the processor's counter, 0: nanoseconds
  uint64_t process_start;  ///< clock ticks since boot, field 22 of /proc/PID/stat
  uint64_t pid_namespace;  ///< a pid means something only there
  uint64_t created_unix_us;
  uint64_t base_ticks, base_ns;  ///< one moment on both clocks (cell_clock.h)
  HalfWord cells_used;           ///< cells [0, cells_used) have been hired
  HalfWord names_used;           ///< names [0, names_used) are written and never change
  uint8_t reserved[4096 - 80];
  char run_folder[run_folder_bytes];
  char names[name_capacity][name_bytes];
};
static_assert(sizeof(FileHeader) == 4096 + run_folder_bytes + name_capacity * name_bytes);

/// One actor's. Times are ticks; 0 stands for never.
struct alignas(64) CellSlot {
  // Written by whoever sends, so apart from the rest.
  Word arrived, bytes, parked;
  Word resumed;  // by the actor, with all that it does at one go: answers are no messages of `turn`
  uint64_t senders_reserved[4];
  // Written by the actor, with every message. `turn` guards began, kind and unit.
  Word turn, handled, busy, began, kind, unit, step, hired;
  // Written now and then. `life` guards the identity: restarts, incarnation and the texts of it.
  Word life;
  HalfWord state, restarts;
  Word incarnation, ended, wait_since;
  HalfWord wait_kind, wait_turn;  ///< wait_turn guards what begins with wait_
  Word wait_detail;
  HalfWord error_turn, end_turn;
  // Texts end with a zero.
  Word role[role_bytes / 8], name[cell_name_bytes / 8], parent[parent_bytes / 8];
  Word error[error_bytes / 8];            ///< under error_turn
  Word end_reason[end_reason_bytes / 8];  ///< under end_turn
};
static_assert(sizeof(CellSlot) == 512 && offsetof(CellSlot, turn) == 64 &&
              offsetof(CellSlot, life) == 128 && offsetof(CellSlot, role) == 192);

constexpr size_t cell_file_bytes = sizeof(FileHeader) + cell_capacity * sizeof(CellSlot);

}  // namespace troupe::runtime
