"""NFUs of the catalogue beside what has been published of the chips that they are after."""

from collections.abc import Sequence

from hw.catalogue import device, published
from hw.nfu.figures import figures
from hw.units import Quantity, format

QUANTITIES = {
    "multiply_adds": Quantity.OPERATIONS_PER_SECOND,
    "operations": Quantity.OPERATIONS_PER_SECOND,
    "area": Quantity.SQUARE_METRES,
    "power": Quantity.WATTS,
}


def published_cells(names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and a line for each device: the template's figures at full rate, without main memory, each beside the published one.

    Devices of which nothing has been published are left out; so are devices that are no NFU.
    """
    lines = []
    for name in names:
        nfu, said = device(name).nfu, published(name)
        if nfu is None or not said:
            continue
        mine = figures(nfu)
        pairs = ((format(mine[key], kind, digits=3), said[key].text if key in said else "") for key, kind in QUANTITIES.items())
        lines.append([name, *(text for pair in pairs for text in pair)])
    header = ["design", *(text for key in QUANTITIES for text in (key.replace("_", "-"), "published"))]
    return header, lines
