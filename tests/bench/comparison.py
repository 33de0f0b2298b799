"""What the compare_* programs share: the sides of a comparison, the machine, and the results."""

import atexit
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"


class Side:
    """A program that answers each line on its standard input with one line of JSON. It is stopped
    while it is not asked: threads of libraries wait for their next work by spinning, and take a
    processor from whoever is measured next."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, **(environment or {})})
        atexit.register(self.process.kill)
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, line=""):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        self.process.send_signal(signal.SIGSTOP)
        if not answer:
            sys.exit(f"{self.name}: ended without a result")
        return json.loads(answer)

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


def median(values):
    return statistics.median(values)


def spread(values):
    """Half the distance of the quartiles over the median: how noisy the rounds were."""
    if len(values) < 4:
        return (max(values) - min(values)) / 2 / median(values)
    quartiles = statistics.quantiles(values, n=4)
    return (quartiles[2] - quartiles[0]) / 2 / quartiles[1]


def words():
    """A text with enough different words for any vocabulary of the bench model."""
    state, out = 1, []
    for number in range(400_000):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        letters, rest = 2 + (state >> 60) % 7, state >> 16
        out.append("".join(chr(97 + rest // 17**i % 17) for i in range(letters)))
        if number % 60 == 59:
            out.append(".\n\n")
    return " ".join(out).encode()


def machine():
    """The processor, its cores, the widest instruction set that kernels use, and the load now."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    lines = [line.split(":", 1) for line in info.splitlines() if ":" in line]
    fields = {name.strip(): value.strip() for name, value in lines}
    flags = set(fields.get("flags", "").split())
    isa = ("avx512_bf16" if "avx512_bf16" in flags else "avx512" if "avx512f" in flags
           else "avx2" if {"avx2", "fma"} <= flags else "portable")
    return {"cpu": fields.get("model name", "unknown"),
            "family": f'{fields.get("cpu family", "?")}/{fields.get("model", "?")}',
            "cores": len(os.sched_getaffinity(0)), "isa": isa,
            "load_before": [round(load, 2) for load in os.getloadavg()]}


def finish(results, machine_now):
    """Adds machine, load at the end and date."""
    return {"date": datetime.date.today().isoformat(),
            "machine": {**machine_now,
                        "load_after": [round(load, 2) for load in os.getloadavg()]},
            **results}


def heading(results):
    of = results["machine"]
    most_load = max(of["load_before"][0], of["load_after"][0])
    is_noisy = most_load > of["cores"] + 1  # the sides alone make it as many as there are cores
    return (f'{results["what"]}, {results["date"]}\n'
            f'{of["cpu"]} (family/model {of["family"]}), {of["cores"]} cores, {of["isa"]}; '
            f'{results["rounds"]} rounds; load before {of["load_before"][0]}, '
            f'after {of["load_after"][0]}'
            f'{": NOISY, others were at work" if is_noisy else ""}\n')


def write(prefix, text, results):
    """PREFIX.txt and PREFIX.json; the text goes to standard output too."""
    print(text, end="")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(f"{prefix}.txt").write_text(text)
    pathlib.Path(f"{prefix}.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {prefix}.txt and .json")
