"""The memorial campus, the scene that ships with the project: 400 m by 250 m, generated.

    python -m render_farm.scene.campus OUT.glb

An entrance hall in the south, a paved court with a basin and the stele, a gallery of relics in the west, an assembly
hall with 1,000 seats in the east, a memorial wall and a grove in the north. The same program writes the same bytes.
"""

import sys
from pathlib import Path

from render_farm.scene.campus_buildings import build_buildings
from render_farm.scene.campus_grounds import build_grounds
from render_farm.scene.campus_site import Site
from render_farm.scene.campus_textures import TEXTURES
from render_farm.scene.glb_writer import Finish, GlbWriter

TITLE = {"en": "Memorial campus", "zh": "纪念馆园区"}

FINISHES: dict[str, Finish] = {
    "paving": Finish("paving", (4.0, 4.0), (0.72, 0.7, 0.67), roughness=0.8),
    "ashlar": Finish("ashlar", (3.0, 2.4)),
    "limestone": Finish("plaster", (3.0, 3.0), (0.82, 0.79, 0.73)),
    "plaster": Finish("plaster", (4.0, 4.0)),
    "granite": Finish("granite", (1.6, 1.6), (0.75, 0.76, 0.8), roughness=0.3),
    "marble": Finish("marble", (2.2, 2.2), roughness=0.35),
    "oak": Finish("wood", (0.9, 2.4), (0.9, 0.85, 0.8), roughness=0.6),
    "wood": Finish("wood", (0.3, 0.8), (0.62, 0.5, 0.44), roughness=0.45),
    "oakfloor": Finish("wood", (1.0, 2.6), (0.86, 0.8, 0.72), roughness=0.55),
    "panel": Finish("wood", (1.2, 3.0), (0.2, 0.2, 0.24), roughness=0.6),
    "grass": Finish("grass", (7.0, 7.0), (0.8, 0.8, 0.75)),
    "hill": Finish("foliage", (90.0, 90.0), (0.62, 0.72, 0.66)),
    "foliage": Finish("foliage", (2.2, 2.2)),
    "needles": Finish("foliage", (1.8, 1.8), (0.55, 0.72, 0.62)),
    "bark": Finish("bark", (0.8, 1.6)),
    "water": Finish("water", (14.0, 14.0), roughness=0.04),
    "bronze": Finish("bronze", (0.7, 0.7), metallic=0.85, roughness=0.42),
    "roof": Finish("roof", (3.2, 3.2), roughness=0.6),
    "relief": Finish("relief", (2.4, 2.4)),
    "fabric": Finish("fabric", (0.5, 0.5)),
    "carpet": Finish("fabric", (1.2, 1.2), (0.5, 0.42, 0.42)),
    "curtain": Finish("fabric", (1.0, 1.0), (0.8, 0.5, 0.5), double_sided=True),
    "porcelain": Finish("porcelain", (0.72, 0.5), roughness=0.12),
    "parchment": Finish("parchment", (1.0, 1.0)),
    "screen": Finish("sunrise", (1.0, 1.0), roughness=0.9, emissive=0.85),
    "vermilion": Finish("plaster", (2.0, 2.0), (0.42, 0.055, 0.03), roughness=0.4),
    "lacquer": Finish(None, color=(0.36, 0.02, 0.015), roughness=0.2),
    "silk": Finish(None, color=(0.78, 0.1, 0.05), roughness=0.6, emissive=0.5),
    "sail": Finish(None, color=(0.8, 0.74, 0.6), double_sided=True),
    "paper": Finish(None, color=(0.75, 0.66, 0.48)),
    "leather": Finish(None, color=(0.09, 0.045, 0.025), roughness=0.6),
    "steel": Finish(None, color=(0.2, 0.215, 0.19), metallic=0.55, roughness=0.4),
    "gold": Finish(None, color=(0.83, 0.58, 0.2), metallic=0.9, roughness=0.3),
    "jade": Finish(None, color=(0.2, 0.42, 0.28), roughness=0.2),
    "dark": Finish(None, color=(0.015, 0.014, 0.013)),
    "glow": Finish(None, color=(1.0, 0.93, 0.78), emissive=1.0),
    "flame": Finish(None, color=(1.0, 0.5, 0.1), emissive=1.0),
}
"""What the campus is made of."""


def campus_glb() -> bytes:
    """The campus as a binary glTF file."""
    site = Site()
    build_grounds(site)
    build_buildings(site)
    writer = GlbWriter(FINISHES, TEXTURES)
    for name, model in site.models.items():
        writer.add_model(name, model)
    for node in site.nodes:
        writer.add_node(node)
    return writer.finish(TITLE, "render_farm.scene.campus")


def main(arguments: list[str]) -> int:
    """Write the campus to the path given; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m render_farm.scene.campus OUT.glb", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    path.write_bytes(campus_glb())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
