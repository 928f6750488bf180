"""The picture of the last days: 24 cells a day, as SVG for Dagster's UI and browsers, as PNG for messages.

    LoadReport ──shapes──> rectangles, rows of cells and texts ──> svg | png | html

One list of shapes has both forms, so they look the same. A row of equal cells is one dashed line: a month is 6 KB of
SVG instead of 40, and it is stored with every materialization. Dagster's markdown shows images from `data:` addresses
and drops inline SVG. Slack and mail show PNG only.
"""

import base64
import html
import io
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from snowplow_posthog_dagster.loading.load_report import HOURS, DayRow, Fate, LoadReport

COLOURS = {
    Fate.DELIVERED: "#2f9e6e",
    Fate.ARRIVED: "#f0b429",
    Fate.MISSING: "#8594a8",
    Fate.BROKEN: "#c92a4b",
    Fate.NOTHING: "#f4f6f9",
}
INK, PALE, PAPER = "#1f2733", "#6b7787", "#ffffff"
CELL, GAP, ROW, HEIGHT = 19, 3, 19, 15
LEFT, TOP, SIDE, FOOT = 132, 86, 320, 50
WIDTH = LEFT + HOURS * (CELL + GAP) + SIDE
_USUAL_SIZE = 12
SHARPNESS = 2
"""Pixels of the PNG per unit, for screens that show two."""


class Cells(NamedTuple):
    """So many equal cells beside each other, the first at x; y is their middle."""

    x: int
    y: int
    number: int
    fate: Fate
    wide: bool = False


class Text(NamedTuple):
    """A line of text; `anchor` is start or end."""

    x: int
    y: int
    words: str
    size: int = 12
    colour: str = INK
    anchor: str = "start"


def shapes(report: LoadReport) -> Iterator[Cells | Text]:
    """Everything on the picture, from top to bottom."""
    yield Text(16, 30, f"Last {len(report.rows)} days of target {report.target}", 18)
    yield Text(16, 52, report.summary(), 12, PALE)
    for hour in range(0, HOURS, 3):
        yield Text(LEFT + hour * (CELL + GAP), TOP - 12, f"{hour:02d}", 11, PALE)
    right = LEFT + HOURS * (CELL + GAP)
    yield Text(right + 86, TOP - 12, "records", 11, PALE, "end")
    for number, row in enumerate(report.rows):
        yield from _row(row, TOP + number * ROW + HEIGHT // 2, right)
    x, y = 16, TOP + len(report.rows) * ROW + 28
    for fate in Fate:
        if fate is not Fate.NOTHING:
            yield Cells(x, y - 4, 1, fate)
            yield Text(x + CELL + 7, y, fate.words, 12)
            x += CELL + 28 + round(6.3 * len(fate.words))
    yield Text(WIDTH - 16, y, f"{report.at:%Y-%m-%d %H:%M} UTC", 11, PALE, "end")


def _row(row: DayRow, y: int, right: int) -> Iterator[Cells | Text]:
    weekend = row.day.weekday() >= 5
    yield Text(16, y + 4, f"{row.day:%Y-%m-%d  %a}", 12, PALE if weekend else INK)
    if len(row.hours) == 1:
        yield Cells(LEFT, y, 1, row.hours[0], wide=True)
    else:
        place = 0
        for fate, group in itertools.groupby(row.hours):
            number = len(list(group))
            yield Cells(LEFT + place * (CELL + GAP), y, number, fate)
            place += number
    yield Text(right + 86, y + 4, f"{row.counts.records:,}" if row.counts.records else "–", 12, INK, "end")
    yield Text(right + 98, y + 4, row.note, 11, COLOURS[Fate.BROKEN] if row.counts.objects_broken else PALE)


def _height(report: LoadReport) -> int:
    return TOP + len(report.rows) * ROW + FOOT


def _length(cells: Cells) -> int:
    """Of the line that is drawn for them."""
    return HOURS * (CELL + GAP) - GAP if cells.wide else cells.number * (CELL + GAP) - GAP


# -- forms ------------------------------------------------------------------------------------------------


def svg(report: LoadReport) -> str:
    """The picture as SVG."""
    size = f'viewBox="0 0 {WIDTH} {_height(report)}" width="{WIDTH}" height="{_height(report)}"'
    strokes = "".join(f".{fate.name[0]}{{stroke:{colour}}}" for fate, colour in COLOURS.items())
    style = f"path{{stroke-width:{HEIGHT}}}.d{{stroke-dasharray:{CELL} {GAP}}}.p{{fill:{PALE}}}.e{{text-anchor:end}}"
    font = f'font-family="system-ui,sans-serif" font-size="{_USUAL_SIZE}" fill="{INK}" xml:space="preserve"'
    parts = "".join(map(_svg_of, shapes(report)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img"><style>{style}{strokes}</style>'
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>{parts}</svg>'
    )


def _svg_of(shape: Cells | Text) -> str:
    if isinstance(shape, Cells):
        dashed = "" if shape.wide else " d"
        return f'<path class="{shape.fate.name[0]}{dashed}" d="M{shape.x} {shape.y}h{_length(shape)}"/>'
    if not shape.words:
        return ""
    marks = [*(["p"] if shape.colour == PALE else []), *(["e"] if shape.anchor == "end" else [])]
    more = f' class="{" ".join(marks)}"' if marks else ""
    more += f' font-size="{shape.size}"' if shape.size != _USUAL_SIZE else ""
    more += f' fill="{shape.colour}"' if shape.colour not in {INK, PALE} else ""
    return f'<text x="{shape.x}" y="{shape.y}"{more}>{html.escape(shape.words)}</text>'


def png(report: LoadReport) -> bytes:
    """The picture as PNG, twice as fine as the SVG's units."""
    image = Image.new("RGB", (WIDTH * SHARPNESS, _height(report) * SHARPNESS), PAPER)
    draw = ImageDraw.Draw(image)
    for shape in shapes(report):
        if isinstance(shape, Cells):
            _draw_cells(draw, shape)
        else:
            font = ImageFont.load_default(shape.size * SHARPNESS)
            anchor = {"start": "ls", "end": "rs"}[shape.anchor]
            place = (shape.x * SHARPNESS, shape.y * SHARPNESS)
            draw.text(place, shape.words.replace("–", "-"), fill=shape.colour, font=font, anchor=anchor)
    out = io.BytesIO()
    image.quantize(64).save(out, "PNG", optimize=True)
    return out.getvalue()


def _draw_cells(draw: ImageDraw.ImageDraw, cells: Cells) -> None:
    width = _length(cells) if cells.wide else CELL
    for number in range(cells.number):
        x, y = cells.x + number * (CELL + GAP), cells.y - HEIGHT // 2
        box = (x, y, x + width, y + HEIGHT)
        draw.rectangle([side * SHARPNESS for side in box], fill=COLOURS[cells.fate])


def markdown(report: LoadReport) -> str:
    """The picture for Dagster's markdown."""
    data = base64.b64encode(svg(report).encode()).decode()
    return f"![{html.escape(report.summary())}](data:image/svg+xml;base64,{data})"


def page(report: LoadReport) -> str:
    """The picture and its numbers as one HTML file that loads nothing."""
    columns = ("objects_done", "objects_broken", "records", "mapped", "dead_letters", "filtered", "repeats",
               "acknowledged", "delivery_dead_letters", "pending", "withdrawn")  # fmt: skip
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in ("day", "files", *columns))
    rows = "".join(
        f"<tr><td>{row.day}</td><td>{row.files:,}</td>"
        + "".join(f"<td>{getattr(row.counts, name):,}</td>" for name in columns)
        + "</tr>"
        for row in reversed(report.rows)
    )
    style = (
        "body{font:14px system-ui,sans-serif;margin:2rem;color:#1f2733}table{border-collapse:collapse}"
        "td,th{padding:.25rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid #e4e8ee}"
        "th{font-weight:600}svg{max-width:100%}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Load report: {html.escape(report.target)}</title>'
        f"<style>{style}</style>{svg(report)}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></html>\n"
    )
