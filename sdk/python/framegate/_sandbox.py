"""Puts on the sandbox that the engine's nursery prepared: Landlock, resource limits, filters of system calls.

The nursery is the only one that decides; here its programs and numbers are handed to the kernel.
"""

from __future__ import annotations

import ctypes
import enum
import os
import platform
import resource
import signal
import stat
import struct
from dataclasses import dataclass
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
#: The same on every architecture.
_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_ADD_RULE = 445
_SYS_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_RULE_PATH_BENEATH = 1
#: Landlock rights that files, and not only folders, have: execute, write, read, truncate, ioctl.
_LANDLOCK_FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
#: One instruction of a filter: code, two jumps, constant.
_INSTRUCTION = struct.Struct("=HBBI")


class SandboxError(Exception):
    """A restriction could not be put on."""


@dataclass(frozen=True)
class Sandbox:
    """What the nursery sent."""

    #: Filter of the host: no `exec` any more.
    host: bytes
    #: Filters of an engine, in their order; where `pid_mark` stands comes the process's own id.
    engine: tuple[bytes, ...]
    #: The same for a process that takes over sessions while it serves others.
    shared: tuple[bytes, ...]
    pid_mark: int
    #: Landlock: bits handled and allowed, or nothing where the kernel has none.
    landlock: dict[str, Any] | None
    #: Paths that may be read.
    readable: tuple[str, ...]
    #: Resource limits by number.
    limits: tuple[tuple[int, int], ...]
    shared_limits: tuple[tuple[int, int], ...]


class Phase(enum.IntEnum):
    """What an audited process is, as the auditor knows it."""

    #: Framegate's own code, which is not reported.
    OWN = 0
    #: The author's code while it is imported.
    IMPORT = 1
    #: The author's code while it serves an engine.
    ENGINE = 2


@dataclass(frozen=True)
class Audit:
    """What the nursery sent in place of a sandbox: somebody watches, and is told whose code runs."""

    mark: int
    #: Resource limits by number.
    limits: tuple[tuple[int, int], ...]

    def enter(self, phase: Phase) -> None:
        """Tells the auditor by a call that the kernel does not know and answers with an error."""
        call = ctypes.c_long(_seccomp_number()), ctypes.c_ulong(self.mark), ctypes.c_ulong(phase), None
        _libc.syscall(*call)

    def limit(self) -> None:
        """Keeps this process from harming the machine."""
        _limit(self.limits)


def parse_audit(plan: dict[str, Any]) -> Audit:
    """Reads what the nursery sent."""
    return Audit(plan["mark"], tuple((number, value) for number, value in plan["limits"]))


def parse(plan: dict[str, Any]) -> Sandbox:
    """Reads what the nursery sent."""
    return Sandbox(
        host=bytes.fromhex(plan["host"]),
        engine=tuple(map(bytes.fromhex, plan["engine"])),
        shared=tuple(map(bytes.fromhex, plan["shared"])),
        pid_mark=plan["pid_mark"],
        landlock=plan["landlock"],
        readable=tuple(plan["readable"]),
        limits=tuple((number, value) for number, value in plan["limits"]),
        shared_limits=tuple((number, value) for number, value in plan["shared_limits"]),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _check(result: int, what: str) -> int:
    if result < 0:
        raise SandboxError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends, and ends it if that has happened."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        os._exit(0)


def _seccomp_number() -> int:
    number = _SYS_SECCOMP.get(platform.machine())
    if number is None:
        raise SandboxError(f"seccomp: unknown machine {platform.machine()}")
    return number


def filter_calls(program: bytes) -> None:
    """Installs one filter of system calls in all threads."""
    number = _seccomp_number()
    memory = ctypes.create_string_buffer(program, len(program))
    described = _Program(len(program) // _INSTRUCTION.size, ctypes.cast(memory, ctypes.c_void_p))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    call = ctypes.c_long(number), ctypes.c_ulong(_SECCOMP_SET_MODE_FILTER), ctypes.c_ulong(_SECCOMP_FILTER_FLAG_TSYNC)
    _check(_libc.syscall(*call, ctypes.byref(described)), "seccomp")


def _for_process(program: bytes, mark: int) -> bytes:
    """The program with this process's id where the mark stands."""
    filled = bytearray()
    for code, if_true, if_false, constant in _INSTRUCTION.iter_unpack(program):
        filled += _INSTRUCTION.pack(code, if_true, if_false, os.getpid() if constant == mark else constant)
    return bytes(filled)


def confine(sandbox: Sandbox, shared: bool) -> None:
    """Restricts this process for good."""
    if sandbox.landlock is not None:
        _restrict_paths(sandbox.landlock, [*sandbox.readable, "/proc/self"])
    _limit(sandbox.shared_limits if shared else sandbox.limits)
    for program in sandbox.shared if shared else sandbox.engine:
        filter_calls(_for_process(program, sandbox.pid_mark))


def _limit(limits: tuple[tuple[int, int], ...]) -> None:
    for number, value in limits:
        hard = resource.getrlimit(number)[1]
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (lowered, lowered))


def _restrict_paths(landlock: dict[str, Any], readable: list[str]) -> None:
    attributes = struct.pack("=QQQ", landlock["fs"], landlock["net"], landlock["scope"])
    size = ctypes.c_ulong(landlock["attribute_bytes"])
    create = ctypes.c_long(_SYS_LANDLOCK_CREATE_RULESET)
    rules = _check(_libc.syscall(create, attributes, size, ctypes.c_ulong(0)), "landlock_create_ruleset")
    for path in readable:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            # What does not exist needs no permission.
            continue
        is_folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        allowed = landlock["read"] if is_folder else landlock["read"] & _LANDLOCK_FILE_RIGHTS
        rule = struct.pack("=Qi", allowed, opened)
        add = ctypes.c_long(_SYS_LANDLOCK_ADD_RULE), ctypes.c_long(rules), ctypes.c_long(_LANDLOCK_RULE_PATH_BENEATH)
        _check(_libc.syscall(*add, rule, ctypes.c_ulong(0)), f"landlock_add_rule {path}")
        os.close(opened)
    restrict = ctypes.c_long(_SYS_LANDLOCK_RESTRICT_SELF), ctypes.c_long(rules)
    _check(_libc.syscall(*restrict, ctypes.c_ulong(0)), "landlock_restrict_self")
    os.close(rules)
