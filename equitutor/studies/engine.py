"""Runs a grid of configurations over any executor, and keeps what is finished.

One run is one call of `execute`: in this process, in a pool of processes, or on a cluster. Only
the caller of `run` writes records, so workers share nothing but the folder of checkpoints.
"""

import json
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from equitutor.chapters import BookError, find_root
from equitutor.studies import records
from equitutor.studies.code import ANYWHERE, code_of
from equitutor.studies.study import Config, canonical, check_metrics, find
from equitutor.studies.workers import Workers

__all__ = ["Report", "cluster", "execute", "pool", "run"]

_ALONE = threading.Lock()  # PyTorch's random numbers belong to the process, not to a thread


@dataclass
class Report:
    """What became of a grid: how many runs were done now, how many had a record, which failed."""

    done: int = 0
    recorded: int = 0
    failed: list[tuple[Config, str]] = field(default_factory=list)


def run(
    study: str,
    size: str = "smoke",
    only: dict[str, Sequence[str]] | None = None,
    executor: Executor | Callable[[], AbstractContextManager[Executor]] | None = None,
    results: str | Path | None = None,
    checkpoints: str | Path | None = None,
    every: float = 60.0,
    progress: bool = True,
) -> Report:
    """Returns what became of the runs of a study that have no record with today's code and data.

    A run that fails is reported and the others go on. A worker that is lost takes nothing with it:
    its run starts again, from its checkpoint. Stopped by Ctrl-C, or killed, the next call goes
    on: finished runs are recorded, the others have checkpoints.

    Args:
        study: name of a study of the book, or of a module that defines STUDY.
        size: "smoke", "cpu", "gpu" or "paper".
        only: key -> values as text; only runs that agree.
        executor: any `concurrent.futures.Executor`, or a function that makes one, which is then
            shut down at the end. Default: `pool`.
        results: folder of the records; default the book's.
        checkpoints: folder of the checkpoints; default `build/runs/<study>`.
        every: seconds between two checkpoints of a run.
        progress: show a bar over the whole grid, with the time that is left.

    Raises:
        ValueError: no such study or size, or `only` fits nothing.
        AlteredRecord: the results file holds a line that no run wrote.
        OSError: the folder of results or of checkpoints cannot be written.

    >>> run("polyphase-vit", only={"network": ["plain"]}).failed  # doctest: +SKIP
    []
    """
    declared, module = find(study)
    configs = declared.configs(size, only)
    path = records.place(declared.name, results)
    code = code_of(module, declared.run.__name__)
    known = [r for r in records.read(path) if r["size"] == size]
    fresh = {canonical(r["config"]) for r in known if not records.stale(r, code)}
    waiting = [c for c in configs if canonical(c) not in fresh]
    report = Report(recorded=len(configs) - len(waiting))
    if not waiting:
        return report
    folder = Path(checkpoints).absolute() if checkpoints else _runs() / declared.name
    for needed in (path.parent, folder):
        records.check_writable(needed)  # now, not after hours
    kept: set[Future] = set()
    with _started(executor or pool) as workers:
        futures = {
            _submit(workers, study, size, config, code, str(folder), every): config
            for config in waiting
        }
        with _Progress(declared.name, size, waiting, known, progress) as bar:

            def keep(future: Future) -> None:
                result = _result(future)
                if isinstance(result, dict):
                    records.append(path, records.seal(result))
                    report.done += 1
                else:
                    report.failed.append((futures[future], result))
                kept.add(future)
                bar.step(futures[future], result)

            try:
                for future in as_completed(futures):
                    keep(future)
            except BaseException as error:
                for future in futures:
                    future.cancel()
                if isinstance(error, KeyboardInterrupt):  # what is finished is not lost
                    for future in futures.keys() - kept:
                        if future.done() and isinstance(_result(future), dict):
                            keep(future)
                raise
    return report


def execute(
    study: str, size: str, config: Config, code: dict[str, str], folder: str, every: float
) -> dict[str, Any]:
    """Returns the record, not yet sealed, of one run; this is what a worker calls.

    Several threads of a process take turns.

    Args:
        study, size, config: what to run.
        code: hashes of the modules, as the caller has them. Another version here is refused.
        folder: of the checkpoints. every: seconds between two of them.

    Raises:
        RuntimeError: this worker has other code than the caller.
        ValueError: the run returned other metrics than the study declares.

    >>> study, module = find("polyphase-vit")
    >>> config = study.configs("smoke")[0]
    >>> execute("polyphase-vit", "smoke", config, code_of(module), ".", 60)  # doctest: +SKIP
    """
    from equitutor.data.reads import watch
    from equitutor.fingerprint import fingerprint
    from equitutor.training import Checkpoint

    with _ALONE:
        declared, _ = find(study)
        here = _code_here(study)
        if here != code:
            names = (here.keys() | code.keys()) - {ANYWHERE}
            others = sorted(n for n in names if here.get(n) != code.get(n))
            raise RuntimeError(f"this worker has other code, start it anew: {', '.join(others)}")
        name = fingerprint(canonical(config))[:16]
        clock = _Clock(Path(folder) / f"{name}.seconds", canonical([config, code]), every)
        with watch() as data, clock, _PeakMemory() as memory:
            checkpoint = Checkpoint(Path(folder) / f"{name}.pt", [canonical(config), code], every)
            metrics = check_metrics(declared, declared.run(dict(config), checkpoint))
        return {
            "study": declared.name,
            "size": size,
            "config": config,
            "metrics": metrics,
            "seconds": round(clock.seconds, 2),
            "peak_mb": memory.peak_mb,
            "device": _device(),
            "versions": _versions(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "data": dict(sorted(data.items())),
            "code": code,
        }


def pool(workers: int | None = None) -> Executor:
    """Returns a pool of new processes: one for each GPU, or for each core where there is none.

    Args:
        workers: number of processes; more than there are GPUs share them in turn.

    Each worker has its device and its share of the cores, does not mind Ctrl-C, and ends when
    this process ends, however that happens. One that is lost is replaced, and its run starts
    again; a run that loses its worker again and again fails.

    >>> with pool(2) as workers:
    ...     [workers.submit(pow, 2, n).result() for n in (3, 4)]
    [8, 16]
    """
    import torch

    gpus = torch.cuda.device_count()
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")  # of those that we may use
    devices = [seen[k] if k < len(seen) and seen[k] else str(k) for k in range(gpus)]
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    workers = workers or gpus or cores
    shared = [devices[k % gpus] if gpus else None for k in range(workers)]
    return Workers(shared, threads=max(1, cores // workers))


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Yields an executor over the workers of a Dask scheduler. Needs `equitutor[cluster]`.

    Args:
        address: of the scheduler, such as "tcp://10.0.0.1:8786".

    A lost worker's runs are given to others. The folder of checkpoints has to be one that all
    workers share, or a run starts from its beginning on another machine. A worker takes one run at
    a time: start as many as there are GPUs or cores, with one thread each.

    Raises:
        OSError: no scheduler answers. ModuleNotFoundError: `distributed` is not installed.

    >>> with cluster("tcp://10.0.0.1:8786") as executor:  # doctest: +SKIP
    ...     run("polyphase-vit", "gpu", executor=executor)
    """
    from distributed import Client

    with Client(address) as client, client.get_executor(retries=2, pure=False) as executor:
        yield executor


@contextmanager
def _started(executor) -> Iterator[Executor]:
    """Yields the executor. One that was made here is stopped on an error, and shut down."""
    if isinstance(executor, Executor):
        yield executor
        return
    with executor() as made:
        try:
            yield made
        except BaseException:
            made.shutdown(wait=False)
            raise


def _submit(workers: Executor, *job) -> Future:
    try:
        return workers.submit(_outcome, *job)
    except BrokenExecutor as error:  # by an earlier job
        lost = Future()
        lost.set_exception(error)
        return lost


def _outcome(*job) -> dict[str, Any] | str:
    """Returns a record or, in words, why there is none. Raised, not every error could travel."""
    try:
        return execute(*job)
    except Exception as error:
        lines = "".join(traceback.format_exception(error)).strip()
        return f"{type(error).__name__}: {error}\n{lines}"


def _result(future: Future) -> dict[str, Any] | str:
    try:
        return future.result()
    except BrokenExecutor:
        return "its worker was lost: killed, out of memory, or ended by the run itself"
    except Exception as error:  # Dask has an error of its own for this
        return f"{type(error).__name__}: {error}"


@lru_cache
def _code_here(study: str) -> dict[str, str]:
    """Returns the hashes of the code that this process has loaded, not of later versions."""
    declared, module = find(study)
    return code_of(module, declared.run.__name__)


def _runs() -> Path:
    try:
        return find_root() / "build/runs"
    except BookError:
        return Path("build/runs").absolute()


class _Progress:
    """A bar over the grid. The time left is judged by runs of the same kind, now or before."""

    def __init__(self, study: str, size: str, waiting: list[Config], known: list, show: bool):
        from tqdm.auto import tqdm

        self.seconds = {self._kind(r["config"]): r["seconds"] for r in known}
        self.waiting = list(waiting)
        self.bar = tqdm(total=len(waiting), desc=f"{study}, {size}", unit="run",
                        disable=not show, bar_format="{desc}: {n} of {total} runs |{bar}| "
                        "{elapsed}{postfix}")  # fmt: skip
        self.started = time.perf_counter()

    def __enter__(self) -> "_Progress":
        self._show()
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def step(self, config: Config, result: dict | str) -> None:
        self.waiting.remove(config)
        if isinstance(result, dict):
            self.seconds[self._kind(config)] = result["seconds"]
        elif not self.bar.disable:
            self.bar.write(f"failed: {canonical(config)}\n{result}", file=sys.stderr)
        self.bar.update()
        self._show()

    def _kind(self, config: Config) -> str:
        return canonical({key: value for key, value in config.items() if key != "seed"})

    def _show(self) -> None:
        if not self.seconds:
            return
        usual = sum(self.seconds.values()) / len(self.seconds)
        work = sum(self.seconds.get(self._kind(c), usual) for c in self.waiting)
        done = self.bar.n and (time.perf_counter() - self.started) / self.bar.n  # seconds a run
        left = min(work, done * len(self.waiting)) if done else work
        self.bar.set_postfix_str(f"about {left / 60:.0f} min left")


class _Clock:
    """Counts the seconds of a run over all the times it was stopped and went on.

    A thread writes them down now and then, so that a killed run loses at most `every` seconds.
    """

    def __init__(self, path: Path, key: str, every: float):
        self.path, self.key, self.every = path, key, every
        self.before = 0.0
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            self.before = known["seconds"] if known["key"] == key else 0.0
        except (OSError, ValueError, KeyError, TypeError):
            pass

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.start

    def __enter__(self) -> "_Clock":
        self.start = time.perf_counter()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._write_now_and_then, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind, *_) -> None:
        self.ended.set()
        self.thread.join()
        self._write()
        self.before, self.start = self.seconds, time.perf_counter()

    def _write_now_and_then(self) -> None:
        while not self.ended.wait(self.every):
            self._write()

    def _write(self) -> None:
        from equitutor.chapters import write_text

        with suppress(OSError):  # no run fails for this
            write_text(self.path, json.dumps({"key": self.key, "seconds": self.seconds}))


class _PeakMemory:
    """The largest resident memory of this process since the run began, in MB.

    Where the system cannot forget an earlier peak, it is that of the worker since its start.
    """

    def __enter__(self) -> "_PeakMemory":
        self.peak_mb = 0
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: begin anew
        return self

    def __exit__(self, *_) -> None:
        try:
            status = Path("/proc/self/status").read_text()
            kilobytes = int(status.split("VmHWM:")[1].split()[0])
        except (OSError, IndexError):
            kilobytes = 0
            with suppress(ImportError):  # Windows tells nothing
                import resource

                kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                kilobytes //= 1024 if sys.platform == "darwin" else 1
        self.peak_mb = round(kilobytes / 1000)


def _device() -> str:
    from equitutor import runtime

    return runtime.device_name()


def _versions() -> dict[str, str | int]:
    import numpy
    import torch

    from equitutor import __version__

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "equitutor": __version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }
