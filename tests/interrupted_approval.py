"""Draft, approve or publish in processes that are killed at a chosen moment.

Run as a script, it reads one job (JSON) a line, does it in a fork of itself, and answers with one
line: all that a job needs is imported once, and polars, whose threads no fork survives, is only
used in the forks. A moment is just before a file is opened for writing, renamed, removed or brought
to the disk, and just after a statement of the ledger.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import release_candidates as candidates
from ihdsi.bundle import unpacking
from ihdsi.bundle.approval import publish_pending
from ihdsi.disclosure.ledger import Ledger
from ihdsi.errors import InputError

EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "sqlite3.connect"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Moments:
    """Counts the moments of this process, and kills it at one of them (0: at none)."""

    def __init__(self, last):
        self.last, self.passed = last, []
        sys.addaudithook(self.audit)
        self.fsync, os.fsync = os.fsync, self.counted_fsync
        execute = Ledger._execute

        def counted_execute(ledger, statement, values=()):
            found = execute(ledger, statement, values)
            if not statement.lstrip().startswith(("SELECT", "PRAGMA")):
                self.pass_one(" ".join(statement.split()[:3]))
            return found

        Ledger._execute = counted_execute

    def pass_one(self, name):
        self.passed.append(name)
        if len(self.passed) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted_fsync(self, handle):
        self.pass_one("fsync")
        self.fsync(handle)

    def audit(self, event, arguments):
        changes = event in EVENTS or (event == "open" and arguments[2] & WRITING)
        if changes and not (event == "os.mkdir" and Path(arguments[0]).exists()):
            self.pass_one(event)


def work(job):
    root = job["root"]
    moments = Moments(job.get("moment", 0))
    try:
        if job["decision"] == "approve":
            candidates.decide(root)
        elif job["decision"] == "draft":
            candidates.draft(Path(root, "candidate"), mean=job["mean"], anew=False)
        else:
            publish_pending(f"{root}/ledger.sqlite", f"{root}/exchange")
    except InputError as error:
        return {"error": str(error)}
    return {"moments": moments.passed}


def main():
    # The test's own tables need no process of bounded memory, which each fork would start anew.
    unpacking.try_unpacking = lambda *tables, **bounds: None
    for line in sys.stdin:
        job = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.write(writer, json.dumps(work(job)).encode())
            os._exit(0)
        os.close(writer)
        if "delay" in job:
            time.sleep(job["delay"])
            os.kill(pid, signal.SIGKILL)
        with os.fdopen(reader, "rb") as stream:
            answer = stream.read()
        _, status = os.waitpid(pid, 0)
        found = json.loads(answer) if answer else {}
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), **found}), flush=True)


if __name__ == "__main__":
    main()
