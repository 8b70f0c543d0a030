"""The Python host of a pipeline: started by the engine's nursery, it gives each engine its Python processors.

Standard input is the nursery's socket. Its first packet is the plan; the answer tells the processors or why there are
none. Each further packet brings four descriptors: an engine's bridge, its two memories, its output pipe.

Three ways to serve, chosen by the nursery:

- `fork`: the host imports the module and forks a process for each engine.
- `spare`: for modules that start threads, which a fork would lose. The host forks one process, which imports.
- `shared`: the host forks one process, which imports and serves all engines; when it dies the next engine gets a new one.

In all of them the host itself never runs the author's code while it serves: it watches, kills what outlives its engine,
and tells an engine how its process ended.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from framegate import _bridge, _output, _sandbox
from framegate._load import TEXT_MAX, LoadError, load
from framegate._processor import Definition

#: Longest plan, in bytes: filters and paths.
PLAN_BYTES_MAX = 160 << 10
#: Descriptors of one engine: bridge, frames, area, output.
DESCRIPTORS = 4
#: Time a shared process has to let go of an engine that has gone before it is taken to hang, in seconds.
RELEASE_S = 5.0
#: Descriptors from here on are not in the way of the fixed ones.
OUT_OF_THE_WAY = 16
#: No descriptor has a number above it: the nursery limits them further.
CLOSE_UP_TO = 1 << 20


@dataclass
class Plan:
    """What the nursery wants."""

    mode: str
    processors: list[tuple[Path, str | None]]
    sandbox: _sandbox.Sandbox | None
    #: In place of a sandbox, where a run is audited.
    audit: _sandbox.Audit | None

    def enter(self, phase: _sandbox.Phase) -> None:
        """Says whose code runs from now on, where that is of interest."""
        if self.audit is not None:
            self.audit.enter(phase)


@dataclass
class Child:
    """A process that runs the author's code."""

    pid: int
    pidfd: int
    #: Our copies of the processors' ends of the bridges: for the last word, and to see the engines' ends.
    bridges: dict[int, socket.socket] = field(default_factory=dict)
    #: Where a process that serves several gets them.
    relay: socket.socket | None = None
    #: Bridges whose engine has gone, with the time by which the process must have noticed.
    leaving: dict[int, float] = field(default_factory=dict)


def main() -> NoReturn:
    """Runs a host until its nursery goes."""
    control = socket.socket(fileno=os.dup(0))
    control.set_inheritable(False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    plan = _parse(json.loads(control.recv(PLAN_BYTES_MAX)))
    if plan.sandbox is not None:
        _sandbox.filter_calls(plan.sandbox.host)
    _output.redirect()
    # An interrupt at the terminal is for framegate itself, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    host = Host(control, plan)
    host.start()
    host.serve()


def _parse(plan: dict[str, Any]) -> Plan:
    sandbox, audit = plan["sandbox"], plan["audit"]
    return Plan(
        plan["mode"],
        [(Path(entry["file"]), entry["processor"]) for entry in plan["processors"]],
        None if sandbox is None else _sandbox.parse(sandbox),
        None if audit is None else _sandbox.parse_audit(audit),
    )


def _tell(definitions: list[Definition]) -> bytes:
    tasks = len(os.listdir("/proc/self/task"))
    described = [definition.describe() for definition in definitions]
    return json.dumps({"tasks": tasks, "processors": described}).encode()


def _refusal(error: BaseException) -> bytes:
    return json.dumps({"error": str(error)[:TEXT_MAX]}).encode()


def _load(plan: Plan) -> list[Definition]:
    plan.enter(_sandbox.Phase.IMPORT)
    try:
        found = load(plan.processors)
    finally:
        plan.enter(_sandbox.Phase.OWN)
    _output.flush()
    # What is alive now stays so: the collector of a forked process need not touch, and thereby copy, its pages.
    gc.collect()
    gc.freeze()
    return found


class Host:
    """Watches the processes that run the author's code."""

    def __init__(self, control: socket.socket, plan: Plan) -> None:
        self._control = control
        self._plan = plan
        self._definitions: list[Definition] = []
        self._children: dict[int, Child] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def start(self) -> None:
        """Imports, or forks the process that does, and answers the nursery."""
        if self._plan.mode == "fork":
            try:
                self._definitions = _load(self._plan)
                answer = _tell(self._definitions)
            except LoadError as error:
                answer = _refusal(error)
        else:
            answer = self._start_worker()
        self._control.send(answer)

    def _start_worker(self) -> bytes:
        """Forks the process that imports and serves; returns what it says of itself."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        host, pid = os.getpid(), os.fork()
        if pid == 0:
            ours.close()
            _run(lambda: Worker(self._plan, theirs, host).serve())
        theirs.close()
        child = self._adopt(pid)
        child.relay = ours
        answer = ours.recv(PLAN_BYTES_MAX)
        self._poll.register(ours, select.POLLIN)
        return answer or _refusal(LoadError(f"the Python process ended while it imported {self._files()}"))

    def _files(self) -> str:
        return ", ".join(file.name for file, _ in self._plan.processors)

    def _adopt(self, pid: int) -> Child:
        child = Child(pid, os.pidfd_open(pid))
        self._children[child.pidfd] = child
        self._poll.register(child.pidfd, select.POLLIN)
        return child

    def serve(self) -> NoReturn:
        """Serves until the nursery goes."""
        while True:
            ready = dict(self._poll.poll(self._patience_ms()))
            is_asked = ready.pop(self._control.fileno(), 0) != 0
            for child in list(self._children.values()):
                if child.relay is not None and child.relay.fileno() in ready:
                    self._hear(child, child.relay)
                for bridge in [bridge for bridge in child.bridges if bridge in ready]:
                    self._part(child, bridge)
                if child.pidfd in ready:
                    self._bury(child)
            self._check_leaving()
            # Last, because what it brings takes numbers that were given back above.
            if is_asked:
                self._take()

    def _patience_ms(self) -> int | None:
        due = [when for child in self._children.values() for when in child.leaving.values()]
        return max(0, int((min(due) - time.monotonic()) * 1000) + 1) if due else None

    def _take(self) -> None:
        """Takes one engine, or ends with the nursery."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, 64, DESCRIPTORS)
        if not packet:
            for child in self._children.values():
                _kill(child)
            os._exit(0)
        if len(descriptors) != DESCRIPTORS:
            raise OSError("an engine came without its descriptors")
        bridge, frames, area, log = descriptors
        if self._plan.mode == "fork":
            child = self._fork(bridge, frames, area, log)
        else:
            child = self._hand_over(descriptors)
        for descriptor in (frames, area, log):
            os.close(descriptor)
        kept = socket.socket(fileno=bridge)
        child.bridges[bridge] = kept
        # Nothing is read here: only the engine's end is waited for.
        self._poll.register(bridge, 0)

    def _fork(self, bridge: int, frames: int, area: int, log: int) -> Child:
        host, pid = os.getpid(), os.fork()
        if pid == 0:
            _run(lambda: _be_engine(self._plan, self._definitions, host, (bridge, frames, area, log)))
        return self._adopt(pid)

    def _hand_over(self, descriptors: list[int]) -> Child:
        """Gives an engine to the process that serves several, or to a new one if that has died."""
        if not self._children:
            self._start_worker()
        child = next(iter(self._children.values()))
        assert child.relay is not None
        try:
            # Without waiting: one that hangs must not keep us from seeing that.
            socket.send_fds(child.relay, [str(descriptors[0]).encode()], descriptors, socket.MSG_DONTWAIT)
        except OSError:
            # It has just died, and the engine is told so as soon as it is buried; or it hangs, and will be killed.
            pass
        return child

    def _bury(self, child: Child) -> None:
        """Reaps a process and tells its engines how it ended."""
        _, status = os.waitpid(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        body = json.dumps({"signal": -code} if code < 0 else {"code": code}).encode()
        packet = _bridge.REPLY.pack(_bridge.DIED, 0, 0, 1, len(body), 0, 0, 0, 0, 0, 0, 0) + body
        for bridge in list(child.bridges.values()):
            try:
                bridge.send(packet, socket.MSG_DONTWAIT)
            except OSError:
                # The engine has gone as well.
                pass
            self._release(child, bridge.fileno())
        self._poll.unregister(child.pidfd)
        del self._children[child.pidfd]
        os.close(child.pidfd)
        if child.relay is not None:
            self._silence(child.relay)
            child.relay.close()

    def _silence(self, watched: int | socket.socket) -> None:
        try:
            self._poll.unregister(watched)
        except KeyError:
            # It was when its other end went.
            pass

    def _part(self, child: Child, bridge: int) -> None:
        """An engine has closed its end: what serves it must go, or let go of it."""
        if self._plan.mode == "shared":
            if bridge not in child.leaving:
                child.leaving[bridge] = time.monotonic() + RELEASE_S
                self._poll.unregister(bridge)
            return
        _kill(child)
        self._release(child, bridge)

    def _hear(self, child: Child, relay: socket.socket) -> None:
        """A shared process says that it has let go of an engine."""
        said = relay.recv(64)
        if not said:
            self._silence(relay)
        elif int(said) in child.bridges:
            self._release(child, int(said))

    def _release(self, child: Child, bridge: int) -> None:
        child.leaving.pop(bridge, None)
        self._silence(bridge)
        child.bridges.pop(bridge).close()

    def _check_leaving(self) -> None:
        """Kills a shared process that has not let go of an engine in time: it hangs, and others wait for it."""
        for child in self._children.values():
            if any(when <= time.monotonic() for when in child.leaving.values()):
                child.leaving.clear()
                _kill(child)


def _kill(child: Child) -> None:
    try:
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    except ProcessLookupError:
        # It ended by itself.
        pass


def _run(serve: Any) -> NoReturn:
    """Runs a forked process; never returns into its parent's code."""
    code = 0
    try:
        serve()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except _sandbox.SandboxError as error:
        print(f"framegate: sandbox: {error}", file=sys.stderr)
        code = 70
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    finally:
        _output.flush()
        os._exit(code & 0xFF)


def _be_engine(plan: Plan, definitions: list[Definition], host: int, descriptors: tuple[int, ...]) -> None:
    """Serves one engine in a process of its own."""
    _sandbox.die_with_parent(host)
    bridge, frames, area = _settle(descriptors)
    if plan.sandbox is not None:
        _sandbox.confine(plan.sandbox, shared=False)
    _serve_one(plan, definitions, bridge, frames, area)


def _settle(descriptors: tuple[int, ...]) -> tuple[int, int, int]:
    """Puts the descriptors in their places and closes all others: they belong to other sessions."""
    # First out of the way: any of them may have the number that another one is to get.
    bridge, frames, area, log = (fcntl.fcntl(descriptor, fcntl.F_DUPFD, OUT_OF_THE_WAY) for descriptor in descriptors)
    for descriptor, number in ((log, 1), (log, 2), (bridge, 3), (frames, 4), (area, 5)):
        os.dup2(descriptor, number)
    os.closerange(6, CLOSE_UP_TO)
    return 3, 4, 5


def _serve_one(plan: Plan, definitions: list[Definition], bridge: int, frames: int, area: int) -> None:
    connected = _socket(bridge)
    plan.enter(_sandbox.Phase.ENGINE)
    session = _session(plan, definitions, connected, frames, area)
    try:
        while not session.is_done:
            session.step()
    except _bridge.Gone:
        # The engine has been killed: nobody is left to answer.
        pass
    plan.enter(_sandbox.Phase.OWN)


def _session(
    plan: Plan, definitions: list[Definition], bridge: socket.socket, frames: int, area: int
) -> _bridge.Session:
    is_writable = any(definition.writable for definition in definitions)
    folders = [file.parent for file, _ in plan.processors]
    return _bridge.Session(bridge, frames, area, is_writable, definitions, folders[0])


def _socket(descriptor: int) -> socket.socket:
    """A socket of a descriptor, all of which is said: the sandbox lets nobody ask."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, descriptor)


class Worker:
    """The process that imports the module itself and serves the engines it is given."""

    def __init__(self, plan: Plan, relay: socket.socket, host: int) -> None:
        _sandbox.die_with_parent(host)
        self._plan = plan
        self._relay = relay
        self._is_shared = plan.mode == "shared"
        self._sessions: dict[int, tuple[_bridge.Session, int, int]] = {}
        self._poll = select.poll()

    def serve(self) -> None:
        """Imports and serves until the host, or in a process for one engine that, goes."""
        # Descriptors of the host, above all its end of the relay.
        control = self._relay.detach()
        os.dup2(control, 3)
        os.closerange(4, CLOSE_UP_TO)
        self._relay = socket.socket(fileno=3)
        try:
            definitions = _load(self._plan)
        except LoadError as error:
            self._relay.send(_refusal(error))
            return
        self._relay.send(_tell(definitions))
        if self._is_shared:
            self._serve_all(definitions)
            return
        _, descriptors, _, _ = socket.recv_fds(self._relay, 64, DESCRIPTORS)
        if len(descriptors) == DESCRIPTORS:
            bridge, frames, area, log = descriptors
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            if self._plan.sandbox is not None:
                _sandbox.confine(self._plan.sandbox, shared=False)
            if self._plan.audit is not None:
                self._plan.audit.limit()
            _serve_one(self._plan, definitions, bridge, frames, area)

    def _serve_all(self, definitions: list[Definition]) -> None:
        if self._plan.sandbox is not None:
            _sandbox.confine(self._plan.sandbox, shared=True)
        self._poll.register(self._relay, select.POLLIN)
        while True:
            # One request of each engine that has one: none waits for two of another.
            for descriptor, _ in self._poll.poll():
                if descriptor != self._relay.fileno():
                    self._step(descriptor)
                elif not self._take(definitions):
                    return

    def _take(self, definitions: list[Definition]) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._relay, 64, DESCRIPTORS)
        if len(descriptors) != DESCRIPTORS:
            return False
        bridge, frames, area, log = descriptors
        session = _session(self._plan, definitions, _socket(bridge), frames, area)
        self._sessions[bridge] = (session, log, int(packet))
        self._poll.register(bridge, select.POLLIN)
        return True

    def _step(self, bridge: int) -> None:
        session, log, number = self._sessions[bridge]
        # What is printed now is about this stream.
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            session.step()
        except _bridge.Gone:
            session.is_done = True
        _output.flush()
        if session.is_done:
            self._poll.unregister(bridge)
            del self._sessions[bridge]
            session.close()
            os.close(log)
            self._relay.send(str(number).encode(), socket.MSG_DONTWAIT)


if __name__ == "__main__":
    main()
