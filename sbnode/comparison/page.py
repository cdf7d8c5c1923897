"""``report.html``: a comparison for people, as one file that needs nothing else and prints well."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from sbnode import __version__
from sbnode.comparison.case import Case, Place
from sbnode.comparison.comparison import Comparison
from sbnode.comparison.pictures import ONLY_A, ONLY_B, REACH_MM
from sbnode.comparison.record import to_json
from sbnode.comparison.tables import Table, overview, sentence, tables, what_differs
from sbnode.results.panels import Panel
from sbnode.results.report import NOTICE

__all__ = ["FILES", "write"]

FILES = ("report.html", "report.json")
_JPEG_QUALITY = 88
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1c20; --dim: #5b626b; --line: #d5d9de; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --dim: #a0a7b0; --line: #3a3f46; --paper: #16181c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.3rem; margin: 2.2rem 0 .5rem; overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p { max-width: 52rem; margin: .4rem 0; } .dim { color: var(--dim); font-size: .9rem; }
.wide { overflow-x: auto; }
.wide td { white-space: nowrap; } .side { display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: flex-start; }
table { border-collapse: collapse; margin: .3rem 0; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding: .6rem 0 .2rem; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: break-word; }
td { min-width: 3.5rem; } th { font-weight: 500; color: var(--dim); } tbody th { color: var(--ink); font-weight: 400; }
.row { display: grid; grid-template-columns: repeat(3, 1fr); gap: .5rem; margin: .5rem 0; }
figure { margin: 0; } figcaption { font-size: .85rem; color: var(--dim); }
.picture { position: relative; background: #121418; border-radius: 4px; overflow: hidden; color: #e8eaed; }
.picture img { display: block; width: 100%; height: auto; }
.picture span { position: absolute; font-size: .85rem; text-shadow: 0 0 3px #000, 0 0 3px #000; }
.l, .r { top: 50%; transform: translateY(-50%); } .l { left: .3rem; } .r { right: .3rem; }
.t, .b { left: 50%; transform: translateX(-50%); } .t { top: .1rem; } .b { bottom: .1rem; }
.key { display: inline-block; width: .9em; height: .9em; border-radius: 2px; margin: 0 .3em 0 .8em;
  vertical-align: -.1em; border: 1px solid var(--line); }
section, .place, figure, table, tr { break-inside: avoid; }
h3 { break-after: avoid; } section.study { break-inside: auto; }
@media print {
  :root { --ink: #000; --dim: #444; --line: #bbb; --paper: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .place .row { max-width: 84%; margin: .3rem 0; } /* two places on a page */
  .picture, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  section.study { break-before: page; }
}
"""
_MEASURES = """<section><h2>How it is measured</h2>
<p><b>Surface distance.</b> A surface is the points where the level of the bone crosses zero between two cells of the
fine grid. Each point's distance is that to the other surface, which is taken for flat about its nearest point. Mean:
over the points of both surfaces (average symmetric surface distance). 95 %: so much of each surface lies within it of
the other one. Longest: the Hausdorff distance. Definitions: Maier-Hein, Reinke et al., “Metrics reloaded”, Nature
Methods 21:195 (2024).</p>
<p><b>Dice</b>: twice the shared volume over the sum of both (Dice, Ecology 26:297, 1945). It is high for any two bones
that are mostly thick; look at the distances and at the tunnels for thin bone.</p>
<p><b>Tunnels</b>: ways through the bone, counted by its Euler characteristic. Foramina and canals are among them, and
so are holes that were torn into thin plates. More tunnels may be open canals or torn plates: the pictures tell.</p>
<p><b>Time</b>: one run on the machine that made this report, A before B; not a benchmark.</p>
<p>None of these figures says which one is right. That takes a look at the scan.</p></section>"""


def write(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write ``FILES`` into ``folder``, which exists. They hold pictures of the scan, no name and no UID."""
    page, record = (folder / name for name in FILES)
    page.write_text("\n".join(_page(comparison)), encoding="utf-8")
    record.write_text(to_json(comparison), encoding="utf-8")
    return page, record


def _page(comparison: Comparison) -> Iterator[str]:
    made = comparison.made_at.strftime("%Y-%m-%d %H:%M")
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Comparison of two configurations</title><style>{_STYLE}</style></head><body>"
    yield f'<h1>Comparison of two configurations</h1><p class="dim">sbnode {__version__}, {made}. {NOTICE}</p>'
    yield f'<section><div class="wide">{_table(overview(comparison))}</div></section>'
    yield '<section><h2>What differs</h2><div class="side">'
    yield from (_table(one) for one in what_differs(comparison))
    yield "</div></section>"
    for case in comparison.cases:
        yield from _case(case)
    yield f"{_MEASURES}</body></html>"


def _case(case: Case) -> Iterator[str]:
    yield f'<section class="study"><h2>{escape(case.label)}</h2><p>{escape(sentence(case))}</p>'
    if case.agreement is not None:
        yield from _places(case.agreement.places)
        if case.agreement.distance is None or case.agreement.distance.longest_mm > 0:
            yield "<h3>Seen as a whole</h3>"
            key = _key("bone of A alone", "bone of B alone")
            yield f'<p class="dim">Difference: {key}. A layer on bone of both is not marked.</p>'
        for panels in case.agreement.views:
            names = ("A", "B", "difference")
            pictures = (
                _figure(panel, f"{name}, {panels[0].title.lower()}") for panel, name in zip(panels, names, strict=True)
            )
            yield f'<div class="row">{"".join(pictures)}</div>'
    yield f'<h3>Figures</h3><div class="side">{"".join(map(_table, tables(case)))}</div></section>'


def _places(places: tuple[Place, ...]) -> Iterator[str]:
    if not places:
        return
    yield "<h3>Where the surfaces differ most</h3>"
    key = _key("bone of A alone", "bone of B alone")
    said = f"Cuts of {2 * REACH_MM:.0f} mm: {key}; bone of both is a little brighter. The ring marks the place."
    yield f'<p class="dim">{said}</p>'
    for number, place in enumerate(places, start=1):
        at = ", ".join(f"{value:.1f}" for value in place.at_mm)
        yield f'<div class="place"><p>{number}. Surfaces up to {place.apart_mm:.1f} mm apart, at ({at}) mm, LPS</p>'
        for panels in (place.scan, place.cuts):
            yield f'<div class="row">{"".join(_figure(panel, panel.title) for panel in panels)}</div>'
        yield "</div>"


def _key(a: str, b: str) -> str:
    squares = (
        f'<span class="key" style="background: rgb{rgb}"></span>{text}' for rgb, text in ((ONLY_A, a), (ONLY_B, b))
    )
    return "".join(squares)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in table.headings)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    return f"<table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _figure(panel: Panel, text: str) -> str:
    letters = "".join(
        f'<span class="{place}" aria-hidden="true">{letter}</span>'
        for place, letter in zip("lrtb", panel.letters, strict=True)
    )
    picture = f'<img alt="{escape(text)}" src="{_source(panel)}">'
    return f'<figure><div class="picture">{picture}{letters}</div><figcaption>{escape(text)}</figcaption></figure>'


def _source(panel: Panel) -> str:
    packed = BytesIO()
    # Full colour for each pixel: thin marks would fade otherwise.
    Image.fromarray(panel.image).save(packed, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")
