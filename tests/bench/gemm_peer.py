"""Times matrix products of a library for compare_gemm; the counterpart of gemm_rounds.

  gemm_peer.py onednn|mkl|openblas THREADS

onednn and mkl as torch calls them, openblas as numpy does. For each line
"M N K transpose_a transpose_b groups milliseconds" on standard input the product is computed for
about so long, and one line of JSON written. Operands are stored as Troupe's are; groups are equal.
"""

import json
import os
import sys
import time

LIBRARY, THREADS = sys.argv[1], sys.argv[2]
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = THREADS

import numpy  # noqa: E402: reads the number of threads as it is imported

if LIBRARY != "openblas":
    import torch

    torch.set_num_threads(int(THREADS))
    torch.set_grad_enabled(False)


def operands(m, n, k, transpose_a, transpose_b, groups):
    """a [G, M, K] and b [G, K, N], as views where they are stored transposed.

    As with grouped_gemm M, and with weight gradients K, counts the rows of all groups."""
    random = numpy.random.default_rng(1)
    if transpose_a:
        k //= groups
    else:
        m //= groups
    a = random.standard_normal((groups, k, m) if transpose_a else (groups, m, k), "float32")
    b = random.standard_normal((groups, n, k) if transpose_b else (groups, k, n), "float32")
    return (a.swapaxes(1, 2) if transpose_a else a), (b.swapaxes(1, 2) if transpose_b else b)


def product(a, b):
    """The library's fastest call, as one without arguments."""
    if LIBRARY == "openblas":
        c = numpy.empty((a.shape[0], a.shape[1], b.shape[2]), "float32")
        if len(a) == 1:
            return lambda: numpy.matmul(a[0], b[0], out=c[0])
        return lambda: numpy.matmul(a, b, out=c)
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    if LIBRARY == "mkl":
        c = torch.empty((a.shape[0], a.shape[1], b.shape[2]))
        if len(a) == 1:
            return lambda: torch.mm(a[0], b[0], out=c[0])
        return lambda: torch.bmm(a, b, out=c)
    linear = torch.ops.mkldnn._linear_pointwise
    pairs = [(rows, weight.t()) for rows, weight in zip(a, b)]

    def multiply():
        for rows, weight in pairs:
            linear(rows, weight, None, "none", [], "")

    return multiply


def timed(call, calls):
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - begin


def main():
    calls = {}
    for line in sys.stdin:
        *key, milliseconds = line.split()
        key = tuple(map(int, key))
        if key not in calls:
            calls[key] = product(*operands(*key))
        call = calls[key]
        timed(call, 1)
        count = max(1, min(100_000, int(1e-3 * float(milliseconds) / timed(call, 1))))
        cpu = time.process_time()
        seconds = timed(call, count)
        print(json.dumps({"seconds": seconds / count,
                          "cpu_seconds": (time.process_time() - cpu) / count}), flush=True)


main()
