"""HTML from an overview. Every value is escaped by the template engine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from jinja2 import Environment, PackageLoader, StrictUndefined

from sbnode.status import words
from sbnode.status.access import Viewer
from sbnode.status.headline import headline
from sbnode.status.overview import Overview

__all__ = ["TOLD", "Renderer"]

TOLD = {
    "retried": ("good", "Started again."),
    "nothing": ("bad", "There was nothing to start again: it was started meanwhile, or is gone."),
    "dismissed": ("good", "Dismissed. It is listed as that, and can still be started again."),
    "untouched": ("bad", "There was nothing to dismiss: it was started again or dismissed meanwhile, or is gone."),
    "busy": ("bad", "Another change is under way and takes long. Nothing was done: try again in a moment."),
    "unavailable": ("bad", "The database of the queue doesn't answer. What you asked for is done when it does."),
}
"""What the page says after a form was sent, and whether that is good, by the word in its address."""


class Renderer:
    """Makes the page.

    Args:
        edition: changes with the files that the page loads.
        reasons: why something may be dismissed, in words, by the word that the form sends.
    """

    def __init__(self, edition: str, reasons: Mapping[str, str]) -> None:
        self._edition = edition
        self._environment = Environment(
            loader=PackageLoader("sbnode.status"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            age=words.age,
            certificate=words.certificate,
            moment=words.moment,
            machine_time=_machine_time,
            queue=words.queue,
            seconds=words.seconds,
            size=words.size,
            stage=words.stage,
        )
        self._environment.globals.update(objects=words.OBJECTS, reasons=reasons)

    def page(self, template: str, overview: Overview, viewer: Viewer, token: str, told: str) -> str:
        """Return the page, or the parts of it that change, as ``viewer`` may see it. ``told`` is a word of TOLD."""
        told_kind, told_text = TOLD.get(told, ("", ""))
        return self._environment.get_template(template).render(
            overview=overview,
            headline=headline(overview),
            viewer=viewer,
            token=token,
            told=told_text,
            told_kind=told_kind,
            edition=self._edition,
            root="./",
        )

    def message(self, status: int, text: str, root: str) -> str:
        """Return a page that says one thing and leads back to ``root``, the status page seen from here."""
        title = HTTPStatus(status).phrase.capitalize()
        template = self._environment.get_template("message.html")
        return template.render(status=status, title=title, text=text, edition=self._edition, root=root)


def _machine_time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
