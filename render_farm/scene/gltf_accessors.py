"""Accessors of a glTF document as NumPy arrays: strides, sparse values and normalised integers resolved."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from render_farm.scene.gltf_document import Accessor, Document, Sparse

_COMPONENT_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_TYPE_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_MAX_ELEMENTS = 32_000_000
"""Bounds an accessor without a buffer view, whose zeros cost the file nothing."""


def read_floats(document: Document, index: int, width: int) -> NDArray[np.float32]:
    """Accessor `index` as finite float32 (count, width). Raises `SceneError`."""
    accessor = _accessor(document, index)
    raw = _read(document, index, accessor)
    if raw.shape[1] != width:
        raise document.fault(f"accessor {index} has {raw.shape[1]} components, {width} are needed")
    values = _normalise(raw) if accessor.normalized and raw.dtype.kind != "f" else raw.astype(np.float32)
    if not np.isfinite(values).all():
        raise document.fault(f"accessor {index} holds numbers that are not finite")
    return values


def read_integers(document: Document, index: int, width: int) -> NDArray[np.uint32]:
    """Accessor `index` as uint32 (count, width). Raises `SceneError`."""
    raw = _read(document, index, _accessor(document, index))
    if raw.dtype.kind != "u" or raw.shape[1] != width:
        raise document.fault(f"accessor {index} does not hold {width} unsigned integers each")
    return raw.astype(np.uint32)


def accessor_count(document: Document, index: int) -> int:
    """The element count of accessor `index`. Raises `SceneError`."""
    return _accessor(document, index).count


def _accessor(document: Document, index: int) -> Accessor:
    accessors = document.json.accessors
    if index >= len(accessors):
        raise document.fault(f"accessor {index} does not exist (there are {len(accessors)})")
    return accessors[index]


def _normalise(raw: NDArray[Any]) -> NDArray[np.float32]:
    values = raw.astype(np.float32) / np.float32(np.iinfo(raw.dtype).max)
    return np.asarray(np.maximum(values, -1.0), np.float32)


def _read(document: Document, index: int, accessor: Accessor) -> NDArray[Any]:
    dtype, width = _dtype(document, accessor.component_type), _TYPE_WIDTHS.get(accessor.type)
    if width is None:
        raise document.fault(f"accessor {index} has the unknown type {accessor.type[:20]!r}")
    if accessor.count * width > _MAX_ELEMENTS:
        raise document.fault(f"accessor {index} has {accessor.count * width} components, the limit is {_MAX_ELEMENTS}")
    if accessor.buffer_view is None:
        values = np.zeros((accessor.count, width), dtype)
    else:
        stride = document.json.buffer_views[accessor.buffer_view].byte_stride if _has_view(document, accessor) else None
        values = _strided(document, accessor.buffer_view, accessor.byte_offset, accessor.count, width, dtype, stride)
    return values if accessor.sparse is None else _with_sparse(document, values, accessor.sparse)


def _has_view(document: Document, accessor: Accessor) -> bool:
    return accessor.buffer_view is not None and accessor.buffer_view < len(document.json.buffer_views)


def _dtype(document: Document, component_type: int) -> np.dtype[Any]:
    name = _COMPONENT_DTYPES.get(component_type)
    if name is None:
        raise document.fault(f"unknown component type {component_type}")
    return np.dtype(name)


def _strided(
    document: Document, view: int, offset: int, count: int, width: int, dtype: np.dtype[Any], stride: int | None
) -> NDArray[Any]:
    data = document.view_bytes(view)
    step = stride or width * dtype.itemsize
    needed = offset + (count - 1) * step + width * dtype.itemsize if count else 0
    if needed > len(data):
        raise document.fault(f"an accessor needs {needed} bytes of buffer view {view}, which has {len(data)}")
    if not count:
        return np.zeros((0, width), dtype)
    strides = (step, dtype.itemsize)
    return np.ndarray((count, width), dtype, buffer=data, offset=offset, strides=strides).copy()


def _with_sparse(document: Document, values: NDArray[Any], sparse: Sparse) -> NDArray[Any]:
    index_dtype = _dtype(document, sparse.indices.component_type)
    if index_dtype.kind != "u":
        raise document.fault("sparse indices are not unsigned integers")
    where = _strided(
        document, sparse.indices.buffer_view, sparse.indices.byte_offset, sparse.count, 1, index_dtype, None
    )[:, 0]
    if len(where) and int(where.max()) >= len(values):
        raise document.fault(f"a sparse index is {int(where.max())}, the accessor has {len(values)} elements")
    values[where] = _strided(
        document,
        sparse.values.buffer_view,
        sparse.values.byte_offset,
        sparse.count,
        values.shape[1],
        values.dtype,
        None,
    )
    return values
