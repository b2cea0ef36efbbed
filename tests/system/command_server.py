"""Commands in processes that are really killed: forks of one that has imported everything.

So fifty take seconds. Run as a script it reads a JSON line for each command from stdin and answers
with a line that has its exit code, or minus the signal. ``CommandServer`` is its other end.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

LIMIT = 600  # seconds, after which a command is killed whatever it does
ROOT = Path(__file__).parents[2]


class CommandServer:
    """Runs mm-jax commands in a folder, one at a time."""

    def __init__(self, folder):
        self.folder = Path(folder)
        env = {**os.environ, "XLA_FLAGS": "", "MM_JAX_TEST_CACHE": str(self.folder / "compiled")}
        env["PYTHONPATH"] = str(ROOT)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        script = [sys.executable, "-m", "tests.system.command_server"]
        self.process = subprocess.Popen(script, env=env, cwd=self.folder, **pipes)

    def __call__(self, *args, **events):
        """Run a command; return its exit code, or minus the signal, and what it wrote.

        ``stop_at``: SIGTERM seems to come at its N-th question for one, after each chunk.
        ``kill_at``: at its N-th question SIGKILL comes, ``delay`` seconds later.
        ``kill_at_operation``: SIGKILL comes at its N-th file operation.
        ``kill_after``: SIGKILL comes after so many seconds.
        ``kill_on``: SIGKILL comes as soon as a file of this name exists.
        """
        out = self.folder / "out.txt"
        request = {"args": args, "out": str(out), **events}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        assert not answer["late"], f"{args} took more than {LIMIT} s: {out.read_text()}"
        return answer["code"], out.read_text()

    def close(self):
        """End the server, whose children have ended."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.process.stdout.close()


class Nothing:
    """In place of the thread that compiles what comes after training, which is not needed here."""

    def __init__(self, _):
        self.submit = self.shutdown = lambda *_args, **_options: None


def run_command(request):
    """In the child: run the command and leave."""
    import jax

    from mm_jax.cli.main import main
    from mm_jax.experiments import training_loop
    from mm_jax.runtime import atomic_files
    from mm_jax.runtime.signals import Stop
    from tests.system.faults import Faulty

    jax.config.update("jax_compilation_cache_dir", os.environ["MM_JAX_TEST_CACHE"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    training_loop.ThreadPoolExecutor = Nothing
    if hasattr(os, "sched_setaffinity"):  # wherever this is tested
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if "kill_at_operation" in request:
        atomic_files.os = Faulty(request["kill_at_operation"], "kill")
    Stop.__call__ = question(request.get("stop_at"), request.get("kill_at"), request.get("delay"))
    code = main(request["args"])
    sys.stdout.flush()
    os._exit(code)


def question(stop_at, kill_at, delay):
    """What a training loop asks after each chunk: whether a signal has come."""
    asked = []

    def has_signal(self):
        asked.append(1)
        if len(asked) == kill_at:
            kill = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
            kill.daemon = True
            kill.start()
        if stop_at is not None and len(asked) >= stop_at:
            self.signal = signal.SIGTERM
        return self.signal is not None

    return has_signal


def serve():
    import warnings

    warnings.simplefilter("ignore")  # JAX warns of forks; no thread of its runs in this process
    import mm_jax.cli.commands.sweep
    import mm_jax.cli.commands.train
    import mm_jax.experiments.single_run
    import mm_jax.experiments.sweep  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        begun, child = time.monotonic(), os.fork()
        if not child:
            run_command(request)
        limit, late = request.get("kill_after", LIMIT), False
        trigger = request.get("kill_on")
        while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if time.monotonic() - begun > limit or (trigger and os.path.exists(trigger)):
                late = limit == LIMIT and time.monotonic() - begun > limit
                os.kill(child, signal.SIGKILL)
                break
            time.sleep(0.001)
        _, status = os.waitpid(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "late": late}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
