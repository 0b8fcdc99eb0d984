"""What waits for what, and work on phases in threads: each as soon as what it waits for is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from zedi.phases import Phase


def before(phases: Mapping[str, Phase], name: str) -> set[str]:
    """Every phase that must be deployed before the one of that name."""
    direct = {earlier for earlier in phases[name].after if earlier in phases}
    return direct.union(*(before(phases, earlier) for earlier in direct))


def in_order(
    needs: Mapping[str, Collection[str]], work: Callable[[str], None], stop: threading.Event
) -> None:
    """Calls `work` once for each key of `needs`, when it has returned for all that the key needs.

    After a failure nothing new begins. What runs beside it comes to its own end first, because AWS goes on
    with it in any case; then the first failure is raised.

    Args:
        needs: what each one waits for; names that are no keys are not waited for.
        stop: is set where waiting itself is interrupted (KeyboardInterrupt), so that `work` returns soon.
    """
    waiting = {name: set(others) & needs.keys() for name, others in needs.items()}
    running: dict[Future[None], str] = {}
    failures: list[BaseException] = []
    with ThreadPoolExecutor(max(1, len(needs)), thread_name_prefix="phase") as threads:
        try:
            while True:
                ready = [name for name, others in waiting.items() if not others] if not failures else []
                for name in ready:
                    del waiting[name]
                    running[threads.submit(work, name)] = name
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    error = future.exception()
                    if error is not None:
                        failures.append(error)
                    for others in waiting.values():
                        others.discard(name)
        except BaseException:
            stop.set()
            raise
    if failures:
        raise failures[0]
