"""What a scene file may at most hold; each limit stops a corrupt or hostile file from harming the node."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SceneLimits:
    """Limits on one scene, counted after decoding.

    `max_file_bytes` bounds each file read from disk and all of them together; `max_nodes` and `max_depth` bound the
    walk over the node tree; `max_vertices` and `max_indices` count every mesh once; `max_texture_pixels` is the sum
    over all decoded images, and stops decompression bombs.
    """

    max_file_bytes: int = 256 * 1024 * 1024
    max_nodes: int = 100_000
    max_depth: int = 128
    max_vertices: int = 8_000_000
    max_indices: int = 24_000_000
    max_primitives: int = 20_000
    max_texture_pixels: int = 128 * 1024 * 1024
    max_places: int = 50_000
