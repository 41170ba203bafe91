"""Where jobs run: in processes of this machine, or on the workers of a Dask cluster."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Self, TypeVar

from aseg_bench.errors import AsegBenchError, InputError, first_few

Job = TypeVar("Job")
Result = TypeVar("Result")
_TRIES = 3  # of a job whose process dies, as Dask has by default
_SECONDS = 30  # to wait for a scheduler and its first worker


class Engine:
    """Runs functions elsewhere and gives back what they return, in order.

    Args:
        workers: processes on this machine, or with ``dask`` workers to wait for; None is one.
        dask: address of a Dask scheduler, or the path of its file.

    Raises:
        InputError: there is no such scheduler, or it has too few workers.
    """

    def __init__(self, workers: int | None = None, dask: str | None = None) -> None:
        self._stack = ExitStack()
        self._workers = workers or 1
        self._pool = self._on_dask(dask) if dask else self._of_processes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=error[0] is None)
        self._stack.close()

    @property
    def n_workers(self) -> int:
        """Processes that work at the same time."""
        return self._workers

    def results(
        self,
        function: Callable[[Job], Result],
        jobs: Sequence[Job],
        files_of: Callable[[Job], Sequence[str]],
        tell: Callable[[], None] = lambda: None,
    ) -> list[Result]:
        """What the function returns for each job; one whose process dies is done again by another, three times in all.

        Args:
            function: of the top of a module, which the workers import.
            jobs: its arguments.
            files_of: names the files of a job, for messages.
            tell: called for each job that is done.

        Raises:
            InputError: a job raised it, or failed otherwise; names its files.
        """
        done: dict[int, Result] = {}
        for attempt in range(1, _TRIES + 1):
            left = [index for index in range(len(jobs)) if index not in done]
            futures: dict[Future[Result], int] = {}
            try:
                for index in left:
                    futures[self._pool.submit(function, jobs[index])] = index
                for future in as_completed(futures):
                    index = futures[future]
                    done[index] = future.result()
                    tell()
                break
            except AsegBenchError:
                raise
            except BrokenProcessPool as error:  # which does not say whose process it was
                if attempt == _TRIES:
                    files = [file for index in left if index not in done for file in files_of(jobs[index])]
                    raise InputError(
                        f"a process died {_TRIES} times while shards with {first_few(files)} were scored, perhaps of "
                        "lack of memory; try fewer --workers"
                    ) from error
                self._pool = self._of_processes()
            except Exception as error:
                raise _failed(files_of(jobs[index]), f"{type(error).__name__}: {error}") from error
            finally:
                for future in futures:
                    future.cancel()
        return [done[index] for index in range(len(jobs))]

    def _of_processes(self) -> Executor:
        context = get_context("spawn")  # threads and forks do not mix
        return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_end_with_the_parent)

    def _on_dask(self, dask: str) -> Executor:
        from distributed import Client

        place: Mapping[str, str] = {"scheduler_file": dask} if Path(dask).is_file() else {"address": dask}
        try:
            client = self._stack.enter_context(Client(**place, timeout=_SECONDS, set_as_default=False))
        except (OSError, ValueError, TypeError) as error:
            text = f"there is no Dask scheduler at {dask} ({error}); start one with `dask scheduler`"
            raise InputError(f"{text}, and give its address or the path of its file") from error
        try:
            client.wait_for_workers(self._workers, timeout=_SECONDS)
        except TimeoutError as error:
            n_there = len(client.nthreads())
            self._stack.close()
            raise InputError(
                f"the Dask scheduler at {dask} has {n_there} of {self._workers} workers; start more with "
                f"`dask worker {dask}`"
            ) from error
        self._workers = len(client.nthreads())
        pool: Executor = client.get_executor(pure=False)
        return pool


def _end_with_the_parent() -> None:
    """Let a worker end when the process that started it is killed, which cannot say so."""

    def end_when_it_does() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    Thread(target=end_when_it_does, daemon=True).start()


def _failed(files: Sequence[str], why: str) -> InputError:
    return InputError(f"the shard with {first_few(files)} failed: {why}")
