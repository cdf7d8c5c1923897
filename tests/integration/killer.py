"""A process that kills itself at a chosen moment: before or after the n-th call of one of its functions."""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Literal

__all__ = ["Moment", "arm"]

_FILE = "moment.json"


@dataclass(frozen=True, slots=True)
class Moment:
    """``seam`` is ``module:name`` or ``module:Class.name``; ``process`` is the command that dies."""

    process: Literal["serve", "work"]
    when: Literal["before", "after"]
    seam: str
    nth: int = 1

    def set(self, folder: Path) -> None:
        """Have the next process that is armed in ``folder`` die at this moment, once."""
        (folder / _FILE).write_text(json.dumps(asdict(self)))

    @staticmethod
    def is_over(folder: Path) -> bool:
        """Whether somebody died."""
        return not (folder / _FILE).exists()


def arm(folder: Path, process: str) -> None:
    """Wrap the function of the moment that is set in ``folder``, if it is one of this process."""
    path = folder / _FILE
    if not path.exists():
        return
    moment = Moment(**json.loads(path.read_text()))
    if moment.process != process:
        return
    module, _, names = moment.seam.partition(":")
    *holders, name = names.split(".")
    owner = functools.reduce(getattr, holders, import_module(module))
    wrapped = _deadly(getattr(owner, name), moment, path)
    bound = isinstance(inspect.getattr_static(owner, name), classmethod | staticmethod)
    setattr(owner, name, staticmethod(wrapped) if bound else wrapped)


def _deadly(function: Callable[..., Any], moment: Moment, path: Path) -> Callable[..., Any]:
    calls = count(1)

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        fatal = next(calls) == moment.nth
        if fatal and moment.when == "before":
            _die(path)
        answer = function(*args, **options)
        if fatal:
            _die(path)
        return answer

    return call


def _die(path: Path) -> None:
    path.unlink()
    os.kill(os.getpid(), signal.SIGKILL)
