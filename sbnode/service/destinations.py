"""Whether the destinations answer, looked at again and again while nothing may be on its way to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Thread

from sbnode import log
from sbnode.config import Config, Destination, WebDestination
from sbnode.errors import ConfigError, DeliveryError, DestinationRefused
from sbnode.scu.echo import echo
from sbnode.scu.stow import reach

__all__ = ["DestinationWatch"]

_PATIENCE_S = 10.0
"""An answer to C-ECHO takes milliseconds; ``timeout_s`` is meant for a surface of 100 MB."""
_POLL_S = 0.1


class DestinationWatch:
    """Asks all destinations at once, so that one that is silent delays none of the others."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._faults: Mapping[str, str | None] = {}
        self._looked_at_s: float | None = None
        self.use(config)

    def use(self, config: Config) -> None:
        """Look at the destinations of ``config`` from now on; what is known of those that stay, stays."""
        self._config = config
        self._looked_at_s = None
        names = {destination.name for destination in config.all_destinations}
        self._faults = {name: fault for name, fault in self._faults.items() if name in names}

    def faults(self) -> Mapping[str, str | None]:
        """Return what was wrong with each destination at the last look, or None; one not yet looked at is missing."""
        return self._faults

    def up(self) -> Mapping[str, bool]:
        """Return whether each destination answered at the last look."""
        return {name: fault is None for name, fault in self._faults.items()}

    def turn(self, stopping: Callable[[], bool]) -> None:
        """Look at each destination, when ``monitoring.destination_check_s`` have passed since the last look."""
        every_s, now_s = self._config.monitoring.destination_check_s, self._clock()
        if every_s is None:
            self._faults = {}
        elif self._looked_at_s is None or now_s - self._looked_at_s >= every_s:
            self._looked_at_s = now_s
            self._look(stopping)

    def _look(self, stopping: Callable[[], bool]) -> None:
        config, found = self._config, dict[str, str | None]()

        def look(destination: Destination | WebDestination) -> None:
            found[destination.name] = _fault(destination, config.node.ae_title)

        # Not a pool: whoever ends the node would wait for its threads.
        threads = [Thread(target=look, args=(one,), daemon=True) for one in config.all_destinations]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not stopping():
                thread.join(_POLL_S)
        if config is self._config and not stopping():  # otherwise the next look knows better
            self._tell(found)
            self._faults = found

    def _tell(self, found: Mapping[str, str | None]) -> None:
        """Log what has changed."""
        for name, fault in found.items():
            before = self._faults.get(name)
            if fault is not None and before is None:
                log.get_logger().warning("destination_down", destination=name, reason=fault)
            elif fault is None and before is not None:
                log.get_logger().info("destination_up", destination=name)


def _fault(destination: Destination | WebDestination, node_ae_title: str) -> str | None:
    patient = destination.model_copy(update={"timeout_s": min(destination.timeout_s, _PATIENCE_S)})
    try:
        if isinstance(patient, WebDestination):
            reach(patient)
        else:
            echo(patient, patient.calling_ae_title or node_ae_title)
    except DestinationRefused:
        return None  # it answered, and wants no Verification
    except (DeliveryError, ConfigError) as error:
        return str(error)
    return None
