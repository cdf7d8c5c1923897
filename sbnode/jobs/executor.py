"""How a process presents itself to DBOS, and how the work of one that died is given back.

Three rules that DBOS asks for are kept here. The executor id is the worker's configured name, so that no two
run the same work. The application version is set by hand: by default it is a hash of the source, and what
waits would be invisible after an upgrade. Arguments and results are JSON.
"""

from __future__ import annotations

import time

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

from sbnode.config import Config
from sbnode.jobs import queues

__all__ = ["adopt", "executor_config"]

_RECOVERY_S = 1.0


def executor_config(config: Config, name: str) -> DBOSConfig:
    """Return the settings of DBOS for the worker ``name``."""
    return DBOSConfig(
        name=queues.APPLICATION,
        system_database_url=queues.database_url(config),
        executor_id=name,
        application_version=queues.WORKFLOWS_VERSION,
        serializer=DBOSPortableJSONSerializer(),
        log_level="WARNING",
        enable_otlp=False,
    )


def adopt(config: Config, name: str) -> None:
    """Give back to the queues what the dead worker ``name`` was doing; the attempts stay counted.

    Call it in a process of its own: DBOS recovers the work of the name that a process bears, when it starts.
    """
    DBOS(config=executor_config(config, name))
    DBOS.listen_queues([])
    DBOS.launch()
    time.sleep(_RECOVERY_S)
    DBOS.destroy()
