"""Enables the loopback device of a new network namespace, then runs the command in its arguments.

For `unshare --net`, where the device is down, and the `ip` command may be missing.
"""

import fcntl
import os
import socket
import struct
import sys

SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
# struct ifreq, of which only the name and the flags are used.
IFREQ = "16sh22x"

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(IFREQ, b"lo", IFF_UP))
os.execvp(sys.argv[1], sys.argv[1:])
