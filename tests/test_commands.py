"""Commands forked from the server are as an interpreter's: streams, exit codes, signals, a clean start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import commands
import pytest

Script = Callable[[str], str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Write a script and return its path."""

    def write(text: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def run(*arguments: str, **given) -> subprocess.CompletedProcess[str]:
    return commands.run(arguments, timeout=60, **given)


def interpreted(*arguments: str, **given) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **given)


def both(*arguments: str, **given) -> list[tuple[int, str, str]]:
    """What a fork and an interpreter end with and print."""
    done = (run(*arguments, **given), interpreted(*arguments, **given))
    return [(each.returncode, each.stdout, each.stderr) for each in done]


def test_a_command_has_its_arguments_folder_and_environment(script: Script, tmp_path: Path) -> None:
    path = script("""
        import os, sys
        print(sys.argv, os.getcwd(), sys.path[:2], __name__, __file__, sys.modules["__main__"].__file__)
        print(sorted(os.environ.items()), sys.stdin.read(), sys.flags, sys.executable)
        print(os.getpgid(0) == int(sys.argv[1]), sys.stdout.encoding, sys.stderr.line_buffering)
    """)
    (tmp_path / "folder").mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ONE": "ä\n"}
    del environment["PATH"]
    given = (path, str(os.getpgid(0)), "b=c d")
    fork, interpreter = both(*given, cwd=tmp_path / "folder", env=environment)
    assert fork == interpreter
    assert fork[1].splitlines()[2].startswith("True")


def test_a_module_is_run_as_by_m(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(
        "import sys; print(sys.argv, sys.path[0], __name__, __package__, __spec__.name)"
    )
    fork, interpreter = both("-m", "package", "a", cwd=tmp_path)
    assert fork == interpreter
    assert fork[0] == 0


@pytest.mark.parametrize(
    "text",
    [
        "print(1)",
        "import sys; sys.exit(75)",
        "import sys; sys.exit('in one line')",
        "import sys; sys.exit()",
        "import os; os._exit(3)",
        "def fail():\n    raise ValueError('of this')\nfail()",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError from error",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
        "import os; os.abort()",
        "import threading\nthreading.Timer(0.2, print, ['late']).start()\nprint('soon')",
        "import atexit\natexit.register(print, 'at the end')\nraise SystemExit(4)",
    ],
)
def test_it_ends_as_with_an_interpreter(script: Script, text: str) -> None:
    fork, interpreter = both(script(text))
    assert fork == interpreter


def test_what_is_written_past_python_arrives_in_order(script: Script) -> None:
    path = script("""
        import os, subprocess, sys
        for number in range(3):
            print("line", number, flush=True)
            os.write(1, b"past python\\r\\n")
            subprocess.run("echo of a child; echo wrong >&2", shell=True)
            print("and this", file=sys.stderr)
        sys.stdout.write("x" * 10**6)
    """)
    fork, interpreter = both(path)
    assert fork == interpreter
    assert len(fork[1]) > 10**6


def test_signals_reach_it(script: Script) -> None:
    path = script("""
        import signal, sys, time
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)
        print(signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        open("there", "w").close()
        time.sleep(60)
    """)
    for number, code in ((signal.SIGUSR1, 75), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, -15)):
        there = Path(path).with_name("there")
        there.unlink(missing_ok=True)
        process = commands.start([path], cwd=there.parent)
        while process.poll() is None and not there.exists():
            time.sleep(0.01)
        assert process.returncode is None
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, process.poll(), err) == (code, code, "")
        if code == 75:
            assert out == "True\nTrue\nset()\n"


def test_one_that_takes_too_long_is_ended(script: Script, tmp_path: Path) -> None:
    path = script("import os, time; open('id', 'w').write(str(os.getpid())); time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired):
        commands.run([path], cwd=tmp_path, timeout=2)
    end = time.monotonic() + 10
    while Path("/proc", (tmp_path / "id").read_text()).exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nothing_of_one_reaches_the_next(script: Script) -> None:
    path = script("""
        import json, logging, os, random, sys, warnings
        import numpy, torch
        print(json.dumps([
            sorted(name for name in sys.modules if name.startswith("dnabert_nemo") or name == "wave"),
            hasattr(torch, "changed"), os.environ.get("CHANGED"), len(warnings.filters),
            len(logging.getLogger("dnabert_nemo").handlers), torch.get_num_threads(), torch.initial_seed(),
            torch.distributed.is_initialized(), os.listdir("/proc/self/fd"),
        ]))
        import wave, dnabert_nemo.command
        torch.changed = os.environ["CHANGED"] = "yes"
        warnings.simplefilter("error")
        logging.getLogger("dnabert_nemo").addHandler(logging.NullHandler())
        torch.manual_seed(1)
        print(random.random(), numpy.random.random(), file=sys.stderr)
    """)
    first, second = run(path), run(path)
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout
    assert first.stdout.startswith("[[], false, null, ")
    drawn = [*first.stderr.split(), *second.stderr.split()]
    assert len(set(drawn)) == 4


def test_workers_and_processes_of_a_command_work(script: Script) -> None:
    path = script("""
        import multiprocessing

        def twice(number):
            return 2 * number

        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(method, pool.map(twice, [1, 2]))
            from torch.utils.data import DataLoader
            print([int(each) for each in DataLoader(range(3), batch_size=None, num_workers=2)])
            print(multiprocessing.parent_process(), multiprocessing.current_process())
    """)
    done = run(path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "fork [2, 4]",
        "spawn [2, 4]",
        "forkserver [2, 4]",
        "[0, 1, 2]",
        "None <_MainProcess name='MainProcess' parent=None started>",
    ]


@pytest.mark.parametrize("seed", ["1", "2"])
def test_what_is_read_at_a_start_alone_is_as_asked_for(script: Script, seed: str) -> None:
    path = script("print(hash('ACGT'))")
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    assert run(path, env=environment).stdout == interpreted(path, env=environment).stdout
