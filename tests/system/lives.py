"""Processes that are really killed: forks of one that has imported everything, so 50 are quick.

Run as a script it reads a JSON line for each life from stdin, with args, out, kill_after, chunks,
and answers with a line {"code": exit code, or minus the signal}. ``Lives`` is its other end.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


class Lives:
    """Starts lives of mm-jax commands."""

    def __init__(self, folder):
        self.folder = Path(folder)
        env = {**os.environ, "XLA_FLAGS": "", "MM_JAX_TEST_CACHE": str(self.folder / "compiled")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        script = [sys.executable, __file__]
        self.process = subprocess.Popen(script, env=env, cwd=self.folder, **pipes)

    def __call__(self, *args, kill_after=None, chunks=None):
        """Run a command, killed after so many seconds or stopped after so many chunks.

        Returns its exit code, or minus the signal, and what it wrote to stdout and stderr.
        """
        out = self.folder / "out.txt"
        request = {"args": args, "out": str(out), "kill_after": kill_after, "chunks": chunks}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return answer["code"], out.read_text()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


class Nothing:
    """In place of the thread that compiles what comes after training: a short life has no use."""

    def __init__(self, _):
        self.submit = self.shutdown = lambda *_args, **_options: None


def live(request):
    """In the child: run the command and leave."""
    import jax

    from mm_jax.cli.main import main
    from mm_jax.experiments import training_loop
    from mm_jax.runtime.signals import Stop

    jax.config.update("jax_compilation_cache_dir", os.environ["MM_JAX_TEST_CACHE"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    training_loop.ThreadPoolExecutor = Nothing
    if hasattr(os, "sched_setaffinity"):  # wherever this is tested
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if request["chunks"] is not None:
        asked = []

        def stop(self):
            """Be true after so many chunks, as if SIGTERM had come."""
            asked.append(1)
            self.signal = 15 if len(asked) >= request["chunks"] else None
            return self.signal is not None

        Stop.__call__ = stop
    code = main(request["args"])
    sys.stdout.flush()
    os._exit(code)


def serve():
    import warnings

    warnings.simplefilter("ignore")  # JAX warns of forks; no thread of its runs in this process
    import mm_jax.cli.commands.sweep
    import mm_jax.cli.commands.train
    import mm_jax.cli.train_results
    import mm_jax.experiments.single_run
    import mm_jax.experiments.successive_halving  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        begun, child = time.monotonic(), os.fork()
        if not child:
            live(request)
        if request["kill_after"] is not None:
            while time.monotonic() - begun < request["kill_after"]:
                if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    break
                time.sleep(0.001)
            os.kill(child, 9)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    serve()
