"""A pool of processes that are independent: one that dies takes no other with it.

`concurrent.futures.ProcessPoolExecutor` gives up all its runs when one of its workers is killed,
and does not say which run was to blame.
"""

import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

__all__ = ["LOST", "Workers"]

LOST = 5  # times that one call may lose its worker


class Workers(Executor):
    """An executor over processes, each started when it is needed and replaced when it is lost.

    Args:
        devices: for each worker the GPU that it sees, as in CUDA_VISIBLE_DEVICES, or None.
        threads: threads of PyTorch in each worker.

    A call whose worker is lost is made again in a new one; after `LOST` times it fails with
    `concurrent.futures.BrokenExecutor`.

    >>> with Workers([None], threads=1) as workers:
    ...     workers.submit(pow, 2, 5).result()
    32
    """

    def __init__(self, devices: Sequence[str | None], threads: int):
        self._callers = ThreadPoolExecutor(len(devices))  # each waits for one process
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._all = [_Worker(device, threads) for device in devices]
        for worker in self._all:
            self._idle.put(worker)
        weakref.finalize(self, _stop, self._all)  # nobody waits for them when Python ends

    def submit(self, fn: Callable, /, *args) -> Future:
        """Returns the future result of a call; function and arguments must be picklable."""
        return self._callers.submit(self._call, fn, args)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes: when all calls are done, or at once if it does not wait."""
        if not wait:
            _stop(self._all)
        self._callers.shutdown(wait=True, cancel_futures=cancel_futures or not wait)
        _stop(self._all)

    def _call(self, fn: Callable, args: tuple) -> Any:
        worker = self._idle.get()
        try:
            for _ in range(LOST):
                with suppress(EOFError, OSError):  # its end of the pipe is closed: it is dead
                    done, result = worker.call(fn, args)
                    break
            else:
                raise BrokenExecutor(f"its worker was lost {LOST} times")
        finally:
            self._idle.put(worker)
        if not done:
            raise result
        return result


def _stop(workers: Sequence["_Worker"]) -> None:
    for worker in workers:
        worker.stop()


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, device: str | None, threads: int):
        self.device, self.threads = device, threads
        self.process = self.pipe = None
        self.lock, self.stopped = threading.Lock(), False

    def call(self, fn: Callable, args: tuple) -> tuple[bool, Any]:
        """Returns whether the call went well, and its result or error.

        Raises EOFError or OSError where the process was lost, BrokenExecutor where it was stopped.
        """
        with self.lock:
            if self.stopped:
                raise BrokenExecutor("stopped")
            if self.process is None or not self.process.is_alive():
                self._start()
        try:
            self.pipe.send((fn, args))
            return self.pipe.recv()
        except (EOFError, OSError):
            with self.lock:  # its pipe closes a moment before it counts as dead
                self.process.kill()
                self.process.join()
            raise

    def stop(self) -> None:
        """Ends the process, and starts none again."""
        with self.lock:
            self.stopped = True
            if self.process is not None:
                self.pipe.close()  # one that waits for a call ends by itself, and cleans up
                self.process.join(0.5)
                self.process.kill()
                self.process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.device, self.threads))
        mask = getattr(signal, "pthread_sigmask", lambda *_: None)  # Windows has none
        before = mask(getattr(signal, "SIG_BLOCK", 0), {signal.SIGINT})
        self.process.start()  # with Ctrl-C blocked already while it imports
        mask(getattr(signal, "SIG_SETMASK", 0), before)
        theirs.close()


def _serve(pipe, device: str | None, threads: int) -> None:
    """Makes the calls that come through the pipe; ends with the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)  # a worker that lived on would write into the checkpoints of the next one

    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            fn, args = pipe.recv()
        except (EOFError, OSError):  # the other end is closed: there is nothing more to do
            return
        try:
            answer = True, fn(*args)
        except Exception as error:
            answer = False, error
        with suppress(BrokenPipeError, ConnectionResetError):
            pipe.send(answer)
