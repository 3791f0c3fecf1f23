"""Runs a grid of configurations over any executor, and keeps what is finished.

One run is one call of `execute`: in this process, in a pool of processes, or on a cluster. Only
the caller of `run` writes records, so workers share nothing but the folder of checkpoints.
"""

import json
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from equitutor.studies import records
from equitutor.studies.code import code_of
from equitutor.studies.study import Config, canonical, check_metrics, find

__all__ = ["Report", "cluster", "execute", "pool", "run"]

LOST = 3  # times in a row that a pool may break without having finished a run


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
    executor: Executor | Callable[[], Executor] | None = None,
    results: str | Path | None = None,
    checkpoints: str | Path | None = None,
    every: float = 60.0,
    progress: bool = True,
) -> Report:
    """Returns what became of the runs of a study that have no record with today's code and data.

    A run that fails is reported and the others go on. A worker that is lost takes nothing with it:
    its runs start again, from their checkpoints. Stopped by Ctrl-C, or killed, the next call goes
    on: finished runs are recorded, the others have checkpoints.

    Args:
        study: name of a study of the book, or of a module that defines STUDY.
        size: "smoke", "cpu", "gpu" or "paper".
        only: key -> values as text; only runs that agree.
        executor: any `concurrent.futures.Executor`, or a function that makes one; a pool that
            breaks is made anew if it is a function. Default: `pool`.
        results: folder of the records; default the book's.
        checkpoints: folder of the checkpoints; default `build/runs/<study>`.
        every: seconds between two checkpoints of a run.
        progress: show a bar over the whole grid, with the time that is left.

    Raises:
        ValueError: no such study or size, or `only` fits nothing.
        AlteredRecord: the results file holds a line that no run wrote.
    """
    declared, module = find(study)
    configs = declared.configs(size, only)
    path = records.place(declared.name, results)
    code = code_of(module)
    known = [r for r in records.read(path) if r["size"] == size]
    fresh = {canonical(r["config"]) for r in known if not records.stale(r, code)}
    waiting = [c for c in configs if canonical(c) not in fresh]
    report = Report(recorded=len(configs) - len(waiting))
    folder = Path(checkpoints or Path("build/runs") / declared.name).absolute()
    jobs = [(study, size, config, code, str(folder), every) for config in waiting]
    if not jobs:
        return report
    with _Progress(declared.name, size, waiting, known, progress) as bar:
        for (_, _, config, *_), result in _complete(executor or pool, jobs):
            if isinstance(result, dict):
                records.append(path, records.seal(result))
                report.done += 1
            else:
                report.failed.append((config, result))
            bar.step(config, result)
    return report


def execute(
    study: str, size: str, config: Config, code: dict[str, str], folder: str, every: float
) -> dict[str, Any]:
    """Returns the record, not yet sealed, of one run; this is what a worker calls.

    Args:
        study, size, config: what to run.
        code: hashes of the modules, as the caller has them. Another version here is refused.
        folder: of the checkpoints. every: seconds between two of them.

    Raises:
        RuntimeError: this worker has other code than the caller.
        ValueError: the run returned other metrics than the study declares.
    """
    from equitutor.data.reads import watch
    from equitutor.fingerprint import fingerprint
    from equitutor.training import Checkpoint

    declared, module = find(study)
    if code_of(module) != code:
        raise RuntimeError(f"this worker has another version of the code of {study}")
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


def pool(workers: int | None = None) -> ProcessPoolExecutor:
    """Returns a pool of new processes: one for each GPU, or for each core where there is none.

    Args:
        workers: number of processes; more than there are GPUs share them in turn.

    Each worker has its device and its share of the cores, does not mind Ctrl-C, and ends when
    this process ends, however that happens.
    """
    import torch

    gpus = torch.cuda.device_count()
    cores = os.cpu_count() or 1
    workers = workers or gpus or cores
    context = multiprocessing.get_context("spawn")
    devices = context.SimpleQueue()
    for k in range(workers):
        devices.put(k % gpus if gpus else None)
    threads = max(1, cores // workers)
    return ProcessPoolExecutor(workers, context, _start_worker, (devices, threads))


def cluster(address: str) -> Executor:
    """Returns an executor over the workers of a Dask scheduler. Needs `equitutor[cluster]`.

    Args:
        address: of the scheduler, such as "tcp://10.0.0.1:8786".

    A lost worker's runs are given to others. The folder of checkpoints has to be one that all
    workers share, or a run starts from its beginning on another machine.
    """
    from distributed import Client

    return Client(address).get_executor(retries=2, pure=False)


def _start_worker(devices, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    gpu = devices.get()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    import torch

    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)  # a worker that lived on would write into the checkpoints of the next one

    threading.Thread(target=end_with_parent, daemon=True).start()


def _complete(executor, jobs: list[tuple]) -> Iterator[tuple[tuple, Any]]:
    """Yields each job with its record or, as text, what went wrong."""
    make = executor if not isinstance(executor, Executor) else None
    waiting, lost = list(jobs), 0
    while waiting:
        now = make() if make else executor
        finished = False
        try:
            futures = {now.submit(execute, *job): job for job in waiting}
            for future in as_completed(futures):
                job = futures[future]
                try:
                    result = future.result()
                except BrokenExecutor:
                    continue
                except Exception as error:
                    result = _reason(error)
                waiting.remove(job)
                finished = True
                yield job, result
        except BrokenExecutor:  # while jobs were being submitted
            pass
        except BaseException:  # Ctrl-C: what runs is stopped, and goes on another time
            now.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        finally:
            if make:
                now.shutdown(cancel_futures=True)
        lost = 0 if finished else lost + 1
        if waiting and (make is None or lost == LOST):
            for job in waiting:
                yield job, "its worker was lost, and so were those that tried again"
            return


def _reason(error: BaseException) -> str:
    """Returns an error in a line, and where in the study's code it was raised."""
    lines = traceback.format_exception(error)
    return f"{type(error).__name__}: {error}\n{''.join(lines).strip()}"


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
