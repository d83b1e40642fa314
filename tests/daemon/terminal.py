"""Runs a command on a terminal, and looks at what it draws.

    terminal.py COLUMNS LINES COMMAND...

Each line on standard input is a wish, and each is answered by a line: `until TEXT` (a frame shows it),
`gone TEXT` (no frame shows it any more), `size COLUMNS LINES`, `interrupt` (Ctrl-C, and waits for the end).
The answer is `ok` or what is wrong; that of `interrupt` is JSON.
"""

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time

PATIENCE_S = 60
ENTER, LEAVE, HOME, BELOW = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H", "\x1b[J"

columns, lines = int(sys.argv[1]), int(sys.argv[2])
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[3], sys.argv[3:])


def resize():
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


raw, is_open, sized = b"", True, 0
resize()


def read(seconds):
    """Takes in what was written within so many seconds."""
    global raw, is_open
    ready, _, _ = select.select([terminal], [], [], seconds)
    if ready:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            piece = b""
        is_open = bool(piece)
        raw += piece


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*[mK]", "", text)


def frames():
    """What was drawn since the size changed last, frame by frame."""
    drawn = raw[sized:].decode(errors="replace").split(HOME)[1:]
    whole = [frame.split(BELOW)[0] for frame in drawn if BELOW in frame]
    # The terminal itself adds carriage returns.
    return [plain(frame).replace("\r", "").split("\n") for frame in whole]


def last():
    return "\n".join((frames() or [[""]])[-1])


def wait(done):
    end = time.monotonic() + PATIENCE_S
    while not done():
        if not is_open:
            return f"it ended: {raw[-2000:].decode(errors='replace')!r}"
        if time.monotonic() > end:
            return f"not within {PATIENCE_S} s: {last()!r}"
        read(0.2)
    return "ok"


def too_large():
    """Frames that do not fit. One that was drawn while the size changed may be of the old one."""
    return [
        frame for frame in frames()[1:] if len(frame) > lines or any(len(l) > columns for l in frame)
    ]


for wish in sys.stdin:
    what, _, text = wish.rstrip("\n").partition(" ")
    if what == "until":
        print(wait(lambda: text in last()).replace("\n", " "), flush=True)
    elif what == "gone":
        print(wait(lambda: text not in last()).replace("\n", " "), flush=True)
    elif what == "size":
        wrong = too_large()
        columns, lines = map(int, text.split())
        sized = len(raw)
        resize()
        print(f"does not fit: {wrong[0]}" if wrong else "ok", flush=True)
    elif what == "interrupt":
        wrong = too_large()
        os.write(terminal, b"\x03")
        while is_open:
            read(0.2)
        _, status = os.waitpid(child, 0)
        said = raw.decode(errors="replace")
        print(
            json.dumps(
                {
                    "code": os.waitstatus_to_exitcode(status),
                    "entered": said.count(ENTER),
                    "left": said.count(LEAVE),
                    "after": plain(said.rpartition(LEAVE)[2]),
                    "colours": "\x1b[32m" in said,
                    "too_large": wrong[:1],
                }
            ),
            flush=True,
        )
