"""A cable that delays every frame and loses some: joins two network devices, which it makes.

usage: bad_cable.py NEAR FAR DELAY_MS LOSS SEED

Says "ready" when both are there, and "lost" for each frame that it loses. Which ones they are follows
from the seed and the number of frames before.
"""
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h


def device(name):
    """The frames of a new network device, as the kernel sends them: whole, with their checksums."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return file


near, far = device(sys.argv[1]), device(sys.argv[2])
delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4])
draw = random.Random(int(sys.argv[5]))
print("ready", flush=True)
under_way, number = [], 0
while True:
    wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
    for file in select.select([near, far], [], [], wait)[0]:
        frame = os.read(file, 65536)
        number += 1
        if draw.random() < loss:
            print("lost", flush=True)
            continue
        to = far if file == near else near
        heapq.heappush(under_way, (time.monotonic() + delay, number, to, frame))
    while under_way and under_way[0][0] <= time.monotonic():
        _, _, to, frame = heapq.heappop(under_way)
        try:
            os.write(to, frame)
        except OSError:
            pass  # the device is down
