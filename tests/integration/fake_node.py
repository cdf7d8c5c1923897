"""`sbnode` with a pipeline that takes no time: `python -m tests.integration.fake_node serve --config FILE`.

Everything else is the real thing: processes, sockets, spool, queue. The worker process is started the same way.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

from sbnode.config import load_config

# What the fakes import counts, and the folder of the counters must be known before that.
if "--config" in sys.argv:
    _spool = load_config(Path(sys.argv[sys.argv.index("--config") + 1])).spool.path
    (_spool / "metrics").mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_spool / "metrics")

from sbnode import pipeline
from sbnode.document import read_document
from tests.conftest import REPOSITORY
from tests.integration import killer
from tests.jobs.fakes import MODELS, fake_run


def _described(name: str) -> SimpleNamespace:
    """A model that says what the one in the repository says of itself, and is nothing else."""
    content = read_document(REPOSITORY / "models" / name / "model.yaml")
    facts = {key: str(content[key]) for key in ("name", "version", "sha256")}
    return SimpleNamespace(description=SimpleNamespace(**facts), tile=MODELS.occupancy.tile)


def main() -> None:
    MODELS.region = _described("region")
    MODELS.occupancy = _described("skullbase")
    if "--config" in sys.argv and (_spool.parent / "other-model").exists():
        MODELS.occupancy.description.sha256 = "c" * 64
    pipeline.Models.open = classmethod(lambda *_: MODELS)  # type: ignore[assignment, method-assign]
    pipeline.run = fake_run

    from sbnode.service import process, supervisor, working

    def command(config_file: Path | None, *arguments: str) -> list[str]:
        options = ["--config", str(config_file)] if config_file else []
        return [sys.executable, "-m", "tests.integration.fake_node", *arguments, *options]

    for module in (process, supervisor, working):
        module.node_command = command  # type: ignore[attr-defined]

    from sbnode.cli import app

    if "--adopt" not in sys.argv and "--config" in sys.argv:
        killer.arm(_spool.parent, sys.argv[1])
    app()


if __name__ == "__main__":
    main()
