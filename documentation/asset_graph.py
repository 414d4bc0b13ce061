"""Draw the asset graph, docs/images/assets.svg, from Dagster's own graph.

The drawing has a column for each partition set, and a row for each asset in the order of the graph. Belongs here:
positions and style. Does not belong here: the name of any asset.
"""

from dataclasses import dataclass
from html import escape
from typing import Final

from data_miner_dagster.definitions import defs

ROW_HEIGHT: Final = 74
BOX_HEIGHT: Final = 46
BOX_WIDTH: Final = 250
COLUMN_WIDTH: Final = 340
MARGIN: Final = 40
HEADER_HEIGHT: Final = 56
DETOUR: Final = 34
"""The distance by which an arrow within one column bypasses the boxes between its ends."""
_STYLE: Final = """\
<style>
text { font-family: system-ui, "Segoe UI", Roboto, sans-serif; fill: #1f2933 }
.column { fill: #f1f5f9 }
.heading { font-size: 15px; font-weight: 600 }
.asset { fill: #ffffff; stroke: #0f766e; stroke-width: 1.5 }
.name { font-size: 15px; font-weight: 600; font-family: ui-monospace, "DejaVu Sans Mono", monospace }
.pool { font-size: 12px; fill: #52606d }
.arrow { fill: none; stroke: #52606d; stroke-width: 1.5; marker-end: url(#head) }
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0 L8 4 L0 8 z" fill="#52606d"/></marker></defs>"""


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset, with its inputs, its partition set and its pool."""

    name: str
    parents: tuple[str, ...]
    partitions: str
    pool: str


@dataclass(frozen=True, slots=True)
class _Place:
    column: int
    row: int

    @property
    def left(self) -> int:
        return MARGIN + self.column * COLUMN_WIDTH + (COLUMN_WIDTH - BOX_WIDTH) // 2

    @property
    def top(self) -> int:
        return HEADER_HEIGHT + self.row * ROW_HEIGHT


def assets_of_code() -> list[Asset]:
    """Return the assets that Dagster loads, in an order in which each one comes after its inputs."""
    graph = defs.resolve_asset_graph()
    found = []
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        parents = tuple(sorted(parent.to_user_string() for parent in node.parent_keys))
        partitions = getattr(node.partitions_def, "name", None) or "none"
        found.append(Asset(key.to_user_string(), parents, partitions, ", ".join(sorted(node.pools or ()))))
    return found


def asset_graph() -> str:
    """Return an SVG drawing of the assets that Dagster loads."""
    return draw(assets_of_code())


def draw(assets: list[Asset]) -> str:
    """Return an SVG drawing of assets. Each asset in `assets` comes after its inputs."""
    columns = list(dict.fromkeys(asset.partitions for asset in assets))
    places = {asset.name: _Place(columns.index(asset.partitions), row) for row, asset in enumerate(assets)}
    width = 2 * MARGIN + len(columns) * COLUMN_WIDTH
    height = HEADER_HEIGHT + len(assets) * ROW_HEIGHT + MARGIN // 2
    names = ", ".join(asset.name for asset in assets)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="The assets, in order: {escape(names)}">',
        _STYLE,
    ]
    for position, partitions in enumerate(columns):
        left = MARGIN + position * COLUMN_WIDTH
        lines.append(
            f'<rect class="column" x="{left + 6}" y="6" width="{COLUMN_WIDTH - 12}" height="{height - 12}" rx="10"/>'
        )
        lines.append(
            f'<text class="heading" x="{left + COLUMN_WIDTH // 2}" y="34" text-anchor="middle">'
            f"one partition per {escape(partitions.removesuffix('s'))}</text>"
        )
    for asset in assets:
        lines += [_arrow(places[parent], places[asset.name], set(places.values())) for parent in asset.parents]
    for asset in assets:
        lines += _box(asset, places[asset.name])
    return "\n".join([*lines, "</svg>"]) + "\n"


def _box(asset: Asset, place: _Place) -> list[str]:
    middle = place.left + BOX_WIDTH // 2
    return [
        f'<rect class="asset" x="{place.left}" y="{place.top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>',
        f'<text class="name" x="{middle}" y="{place.top + 20}" text-anchor="middle">{escape(asset.name)}</text>',
        f'<text class="pool" x="{middle}" y="{place.top + 37}" text-anchor="middle">pool {escape(asset.pool)}</text>',
    ]


def _arrow(start: _Place, end: _Place, places: set[_Place]) -> str:
    """Return the SVG arrow between two boxes: straight, around the boxes between them, or across columns."""
    if start.column != end.column:
        is_to_right = end.column > start.column
        x1, x2 = (start.left + BOX_WIDTH, end.left) if is_to_right else (start.left, end.left + BOX_WIDTH)
        y1, y2 = start.top + BOX_HEIGHT // 2, end.top + BOX_HEIGHT // 2
        middle = (x1 + x2) // 2
        return f'<path class="arrow" d="M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"/>'
    if any(place.column == start.column and start.row < place.row < end.row for place in places):
        y1, y2, left = start.top + BOX_HEIGHT // 2, end.top + BOX_HEIGHT // 2, start.left - DETOUR
        return f'<path class="arrow" d="M{start.left} {y1} C{left} {y1} {left} {y2} {end.left} {y2}"/>'
    x = start.left + BOX_WIDTH // 2
    return f'<path class="arrow" d="M{x} {start.top + BOX_HEIGHT} L{x} {end.top}"/>'
