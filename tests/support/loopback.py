"""Brings the loopback device of a new network namespace up, and becomes the command in its arguments.

For `unshare --net`: the device is there, but down, and not everybody has the command that would bring it up.
"""

import fcntl
import os
import socket
import struct
import sys

SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
# struct ifreq, in which a name and flags are all that counts here.
IFREQ = "16sh22x"

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(IFREQ, b"lo", IFF_UP))
os.execvp(sys.argv[1], sys.argv[1:])
