"""The rules of the house that a machine can hold: sizes, names, purity of imports, the lock."""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("novacron", "rl_envs", "tuning", "ray_jobs", "serve_apps", "benchmarks")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
JUNK_DRAWERS = re.compile(r"(^|_)(utils?|helpers?|common|misc|v\d+)(_|$)")


def modules_of(*packages: str) -> list[str]:
    names = []
    for path in SOURCES:
        relative = path.relative_to(ROOT).with_suffix("")
        if relative.parts[0] in packages and relative.name != "__main__":
            parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
            names.append(".".join(parts))
    return names


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_imports_only_go_down():
    finished = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout[-3000:]


def test_no_test_file_is_longer_than_a_source_file_may_be():
    assert [str(path) for path in TESTS if len(path.read_text().splitlines()) > 400] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path):
    source = path.read_text()

    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # The docstring is the contract, not something to follow step by step.
            described = len((ast.get_docstring(node, clean=False) or "").splitlines())
            assert node.end_lineno - node.lineno + 1 - described <= 50, f"{node.name} is too long"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_named_for_what_is_in_it(path):
    assert not JUNK_DRAWERS.search(path.stem)


def test_importing_any_module_writes_nothing_and_opens_no_connection():
    finished = run_python(
        """
        import importlib, os, sys
        sys.dont_write_bytecode = True
        events = []
        def watch(event, args):
            if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
                # /dev/null, and the terminal probe of the C library, are no side effect.
                if not str(args[0]).startswith("/dev/"):
                    events.append((event, str(args[0])))
            elif event in {"socket.connect", "socket.bind", "os.mkdir", "os.remove"}:
                events.append((event, str(args[:1])))
        modules = sys.argv[1].split(",")
        # What the vendors do when they are imported is theirs: load them first, unwatched.
        import lightgbm, matplotlib, mlflow, pandas, pyarrow.parquet, scipy.signal, sklearn  # noqa
        sys.addaudithook(watch)
        for module in modules:
            importlib.import_module(module)
        print("\\n".join(map(str, events)))
        """,
        ",".join(modules_of("novacron", "rl_envs")),
    )

    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.strip() == ""


def test_all_of_novacron_but_the_lstm_imports_without_torch():
    needs_torch = {"novacron.models.bandwidth.lstm", "novacron.models.performance.lstm"}

    finished = run_python(
        """
        import importlib, sys
        class NoTorch:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "torch":
                    raise ImportError("torch is not installed")
        sys.meta_path.insert(0, NoTorch())
        for module in sys.argv[1].split(","):
            importlib.import_module(module)
        """,
        ",".join(name for name in modules_of("novacron") if name not in needs_torch),
    )

    assert finished.returncode == 0, finished.stderr[-3000:]


def test_the_lock_pins_and_hashes_everything_and_names_no_host_and_no_cuda():
    lock = (ROOT / "requirements" / "lock-py311.txt").read_text()
    pins = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]

    assert all(re.match(r"[A-Za-z0-9_.-]+==[^ ]+( ; .*)? \\$", line) for line in pins)
    assert lock.count("--hash=sha256:") >= len(pins)
    assert not re.search(r"https?://|^torch==|^nvidia|^triton", lock, re.MULTILINE)


def test_the_lock_keeps_the_pins_that_matter():
    lock = (ROOT / "requirements" / "lock-py311.txt").read_text()

    assert re.search(r"^pandas==3\.0\.", lock, re.MULTILINE)
    assert re.search(r"^gymnasium==1\.2\.2 ", lock, re.MULTILINE)
    assert re.search(r"^ray==2\.60\.", lock, re.MULTILINE)
    assert (ROOT / "requirements" / "torch-cpu.txt").read_text().strip() == "torch==2.13.0"


def test_every_make_target_the_readme_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

    named = {
        match for path in documents for match in re.findall(r"`make ([a-z-]+)", path.read_text())
    }

    assert named <= targets
