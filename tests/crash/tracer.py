"""Watches processes by ptrace, numbers their system calls that change files, and strikes at one of them.

strace counts a call for each thread (`when=`), and which thread of a pool takes a piece of work is chance. Here a
call's number is its place in the order of one whole process since the watch began, so that a point is well defined:
"the 7th call that changes files of west's data-mover after the command was given".

It runs as a program of its own, because every request of ptrace must come from the thread that attached. It says on
its standard output, a JSON object a line: {"ready"}, one {"call"} for each call when it is over or struck,
{"struck"}, and {"gone"} when a process has ended. It lets go of everything when it is ended.

Linux on x86-64 or aarch64 for kills; x86-64 for injected errors, whose registers it knows.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import errno
import json
import os
import platform
import signal
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.restype = ctypes.c_long
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

# ptrace(2).
POKEUSER, SYSCALL, SEIZE, INTERRUPT, GET_SYSCALL_INFO = 6, 24, 0x4206, 0x4207, 0x420E
OPTION_SYSGOOD, OPTION_CLONE = 1, 8
EVENT_STOP = 128
WALL = 0x40000000
ENTRY, EXIT = 1, 2
# struct user_regs_struct of x86-64, offsets in bytes.
RAX, ORIG_RAX = 80, 120

AT_FDCWD = -100
O_WRONLY, O_RDWR, O_CREAT, O_TRUNC = 0o1, 0o2, 0o100, 0o1000
PROT_WRITE, MAP_SHARED = 2, 1

X86_64 = {
    "write": 1, "mmap": 9, "pwrite64": 18, "writev": 20, "sendfile": 40, "sendto": 44, "recvfrom": 45, "sendmsg": 46,
    "recvmsg": 47, "read": 0, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83,
    "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "openat": 257, "mkdirat": 258, "unlinkat": 263,
    "renameat": 264, "linkat": 265, "symlinkat": 266, "sync_file_range": 277, "fallocate": 285, "pwritev": 296,
    "syncfs": 306, "renameat2": 316, "copy_file_range": 326, "pwritev2": 328, "msync": 26, "open": 2,
    "io_uring_setup": 425,
}  # fmt: skip
AARCH64 = {
    "write": 64, "mmap": 222, "pwrite64": 68, "writev": 66, "sendfile": 71, "sendto": 206, "recvfrom": 207,
    "sendmsg": 211, "recvmsg": 212, "read": 63, "fsync": 82, "fdatasync": 83, "truncate": 45, "ftruncate": 46,
    "openat": 56, "mkdirat": 34, "unlinkat": 35, "renameat": 38, "linkat": 37, "symlinkat": 36, "sync_file_range": 84,
    "fallocate": 47, "pwritev": 70, "syncfs": 267, "renameat2": 276, "copy_file_range": 285, "pwritev2": 287,
    "msync": 227, "io_uring_setup": 425,
}  # fmt: skip
NUMBERS = X86_64 if platform.machine() == "x86_64" else AARCH64
NAMES = {number: name for name, number in NUMBERS.items()}

WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fallocate"}
SYNCS = {"fsync", "fdatasync", "sync_file_range", "syncfs"}
BY_PATH = {"truncate", "mkdir", "rmdir", "creat", "unlink", "rename", "link", "symlink"}
BY_FOLDER = {"mkdirat", "unlinkat", "renameat", "renameat2", "linkat", "symlinkat"}
TALKS = {"write", "writev", "sendto", "sendmsg", "read", "recvfrom", "recvmsg"}
# Of the store.
JOURNAL = ".jnl"
OPENS = {"open": (0, 1), "openat": (1, 2)}
OUTGOING = {"sendfile": 0, "copy_file_range": 2}


class Gone(Exception):
    """The thread has ended meanwhile."""


def ptrace(request, tid, address=0, data=0):
    ctypes.set_errno(0)
    result = LIBC.ptrace(request, tid, address, data)
    if result == -1 and (number := ctypes.get_errno()):
        if number == errno.ESRCH:
            raise Gone
        raise OSError(number, os.strerror(number))
    return result


class Info(ctypes.Structure):
    """struct ptrace_syscall_info, entry and exit."""

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    ]


def signed(value):
    return value - (1 << 64) if value >> 63 else value


@dataclasses.dataclass
class Call:
    name: str
    on: str
    number: int
    began: float
    descriptor: int | None = None
    failing: int | None = None
    # What is written to a journal: which commit that is.
    text: str | None = None


class Process:
    """One watched process: its calls so far."""

    def __init__(self, tgid, label, root, quiet):
        self.tgid, self.label, self.root, self.quiet = tgid, label, root, quiet
        self.count = 0

    def text(self, address):
        """A path in its memory, which is another one after an exec; up to the end of a page, for the next may not be
        there."""
        try:
            with open(f"/proc/{self.tgid}/mem", "rb", buffering=0) as memory:
                memory.seek(address)
                return memory.read(4096 - address % 4096).split(b"\0")[0].decode(errors="replace")
        except OSError:
            return "?"

    def written(self, address, size):
        try:
            with open(f"/proc/{self.tgid}/mem", "rb", buffering=0) as memory:
                memory.seek(address)
                return memory.read(size).decode("ascii", errors="replace")
        except OSError:
            return None

    def file(self, descriptor):
        try:
            return os.readlink(f"/proc/{self.tgid}/fd/{descriptor}")
        except OSError:
            return ""

    def ours(self, path):
        return path.startswith(self.root) and not path.startswith(self.quiet)

    def within(self, folder, name):
        if name.startswith("/"):
            return name
        base = os.readlink(f"/proc/{self.tgid}/cwd") if folder == AT_FDCWD else self.file(folder)
        return f"{base}/{name}"

    def changes(self, name, args, sockets):
        """What file the call is about to change (or, of sockets, is about to use); None for another call."""
        if name in WRITES or name in SYNCS:
            path = self.file(args[0])
            if self.ours(path):
                return path, args[0]
            return ("socket", args[0]) if sockets and name in TALKS and path.startswith("socket:") else None
        if name in TALKS:
            return ("socket", args[0]) if sockets and self.file(args[0]).startswith("socket:") else None
        path, descriptor = None, None
        if name in OPENS:
            where, flags = OPENS[name]
            if args[flags] & (O_CREAT | O_TRUNC):
                path = self.within(AT_FDCWD if where == 0 else ctypes.c_int(args[0]).value, self.text(args[where]))
        elif name in BY_PATH:
            path = self.within(AT_FDCWD, self.text(args[0]))
        elif name in BY_FOLDER:
            path = self.within(ctypes.c_int(args[0]).value, self.text(args[1]))
        elif name in OUTGOING:
            path, descriptor = self.file(args[OUTGOING[name]]), args[OUTGOING[name]]
        elif name == "mmap" and args[2] & PROT_WRITE and args[3] & MAP_SHARED and ctypes.c_int(args[4]).value >= 0:
            path = self.file(args[4])
        elif name == "io_uring_setup":
            return "io_uring", None
        return (path, descriptor) if path and self.ours(path) else None


class Watch:
    def __init__(self, options):
        self.options, self.processes, self.threads, self.calls = options, {}, {}, {}
        self.struck = False

    def say(self, **words):
        sys.stdout.write(json.dumps(words) + "\n")
        sys.stdout.flush()

    def attach(self, process):
        self.processes[process.tgid] = process
        found = True
        # Threads are made while we look; those made by a thread that we have already come by themselves.
        while found:
            found = False
            for name in os.listdir(f"/proc/{process.tgid}/task"):
                if int(name) not in self.threads:
                    try:
                        ptrace(SEIZE, int(name), 0, OPTION_SYSGOOD | OPTION_CLONE)
                        ptrace(INTERRUPT, int(name))
                    except (Gone, PermissionError):
                        continue
                    self.threads[int(name)], found = process, True

    def spawn(self, root, quiet, label, words, log):
        """A process watched from its first instruction on."""
        tgid = os.fork()
        if tgid == 0:
            out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.execv(words[0], words)
        os.waitpid(tgid, os.WUNTRACED)
        process = Process(tgid, label, root, quiet)
        self.processes[tgid] = self.threads[tgid] = process
        ptrace(SEIZE, tgid, 0, OPTION_SYSGOOD | OPTION_CLONE)
        ptrace(INTERRUPT, tgid)
        os.kill(tgid, signal.SIGCONT)
        return tgid

    def run(self):
        while self.processes:
            try:
                tid, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                break
            if not os.WIFSTOPPED(status):
                process = self.threads.pop(tid, None)
                if process and tid == process.tgid:
                    del self.processes[tid]
                    self.say(gone=process.label, status=status, at=time.time())
                continue
            deliver, event, what = 0, status >> 16, os.WSTOPSIG(status)
            if what == signal.SIGTRAP | 0x80:
                # What is asked of an ending process is not there any more; whoever is not ending has to go on.
                with contextlib.suppress(Gone, FileNotFoundError, ProcessLookupError):
                    self.stopped(tid)
            elif event == 0:
                deliver = what
            with contextlib.suppress(Gone):
                ptrace(SYSCALL, tid, 0, deliver)

    def owner(self, tid):
        """A new thread is of the process that its status names."""
        if tid not in self.threads:
            try:
                with open(f"/proc/{tid}/status", encoding="ascii", errors="replace") as status:
                    tgid = next(int(line.split()[1]) for line in status if line.startswith("Tgid"))
            except OSError as error:
                raise Gone from error
            if tgid not in self.processes:
                raise Gone
            self.threads[tid] = self.processes[tgid]
        return self.threads[tid]

    def stopped(self, tid):
        process, info = self.owner(tid), Info()
        ptrace(GET_SYSCALL_INFO, tid, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == ENTRY:
            name = NAMES.get(info.number)
            found = name and process.changes(name, info.args, self.options.sockets)
            if found:
                self.enters(tid, process, name, *found)
                if name == "write" and found[0].endswith(JOURNAL):
                    self.calls[tid].text = process.written(info.args[1], info.args[2])
        elif info.op == EXIT and tid in self.calls:
            self.leaves(tid, process, signed(info.number))

    def enters(self, tid, process, name, path, descriptor):
        process.count += 1
        call = Call(name, path.removeprefix(process.root), process.count, time.time(), descriptor)
        self.calls[tid] = call
        options = self.options
        if self.struck or call.number != options.number:
            return
        if options.strike == "before":
            self.strike(process, call)
        elif options.strike in errno.errorcode.values():
            call.failing = getattr(errno, options.strike)
            # No such call: nothing happens, and its answer is written when it is left.
            ptrace(POKEUSER, tid, ORIG_RAX, ctypes.c_void_p(ctypes.c_ulong(-1 & (1 << 64) - 1).value))
            self.struck = True
            self.say(struck=call.number, by=options.strike, name=name, on=call.on, at=call.began)

    def leaves(self, tid, process, result):
        call = self.calls.pop(tid)
        if call.failing:
            result = -call.failing
            ptrace(POKEUSER, tid, RAX, ctypes.c_void_p(result & (1 << 64) - 1))
        self.say(
            call=call.number, of=process.label, name=call.name, on=call.on, descriptor=call.descriptor, result=result,
            thread=tid, began=call.began, ended=time.time(), struck=bool(call.failing), text=call.text,
        )  # fmt: skip
        if not self.struck and call.number == self.options.number and self.options.strike == "after":
            self.strike(process, call)

    def strike(self, process, call):
        os.kill(process.tgid, signal.SIGKILL)
        self.struck = True
        self.say(struck=call.number, by=self.options.strike, name=call.name, on=call.on, at=time.time())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--watch", nargs=4, action="append", default=[], metavar=("PID", "LABEL", "ROOT", "QUIET"))
    parser.add_argument("--spawn", nargs=4, metavar=("LABEL", "ROOT", "QUIET", "LOG"), help="and watch; its words follow")
    parser.add_argument("--number", type=int, default=0, help="the call to strike at")
    parser.add_argument("--strike", default="none", help="before, after (SIGKILL), or the name of an error")
    parser.add_argument("--sockets", action="store_true", help="number calls on sockets as well")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    watch = Watch(options)
    if options.spawn:
        label, root, quiet, log = options.spawn
        watch.spawn(root, quiet, label, options.words, log)
    for pid, label, root, quiet in options.watch:
        watch.attach(Process(int(pid), label, root, quiet))
    watch.say(ready=True)
    watch.run()


if __name__ == "__main__":
    main()
