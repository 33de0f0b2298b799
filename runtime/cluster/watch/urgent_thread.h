#pragma once

#include <string>

namespace troupe::runtime {

/// The calling thread, which is to do little, runs as soon as it has something to do, however busy
/// the processors are: in real time (SCHED_RR) if the system lets this process, else before others
/// (nice). What it has got, for people: "SCHED_RR 1", "nice -15", "as others".
std::string make_urgent();

}  // namespace troupe::runtime
