"""The container of a glTF 2.0 file: its JSON as typed structs, and its buffers.

Only what the renderer uses is declared; other keys are ignored, as the specification asks for. Text files may
name buffers and images that lie next to them or below; nothing outside that folder and nothing on a network is read.
"""

import base64
import binascii
import struct
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Struct

from render_farm.scene.limits import SceneLimits
from render_farm.scene.model import SceneError

_GLB_MAGIC = b"glTF"
_CHUNK_JSON = 0x4E4F534A
_CHUNK_BINARY = 0x004E4942

_NOTHING = msgspec.Raw(b"null")
Index = Annotated[int, Meta(ge=0, le=2**31)]
Share = Annotated[float, Meta(ge=0, le=1)]
Vec3 = tuple[float, float, float]
Vec4 = tuple[float, float, float, float]
SUPPORTED_EXTENSIONS = frozenset({"KHR_texture_transform", "KHR_materials_unlit", "KHR_mesh_quantization"})


class _Part(Struct, frozen=True, rename="camel"):
    """Base of the document's structs: camelCase keys, unknown keys ignored."""


class Asset(_Part, frozen=True):
    """`asset`: the version of the format."""

    version: str


class Buffer(_Part, frozen=True):
    """`buffers[]`; without `uri` it is the binary chunk of a .glb."""

    byte_length: Index
    uri: str | None = None


class BufferView(_Part, frozen=True):
    """`bufferViews[]`."""

    buffer: Index
    byte_length: Index
    byte_offset: Index = 0
    byte_stride: Annotated[int, Meta(ge=4, le=252)] | None = None


class SparseIndices(_Part, frozen=True):
    """`accessors[].sparse.indices`."""

    buffer_view: Index
    component_type: int
    byte_offset: Index = 0


class SparseValues(_Part, frozen=True):
    """`accessors[].sparse.values`."""

    buffer_view: Index
    byte_offset: Index = 0


class Sparse(_Part, frozen=True):
    """`accessors[].sparse`."""

    count: Index
    indices: SparseIndices
    values: SparseValues


class Accessor(_Part, frozen=True):
    """`accessors[]`."""

    component_type: int
    count: Index
    type: str
    buffer_view: Index | None = None
    byte_offset: Index = 0
    normalized: bool = False
    sparse: Sparse | None = None


class Image(_Part, frozen=True):
    """`images[]`."""

    uri: str | None = None
    buffer_view: Index | None = None


class Texture(_Part, frozen=True):
    """`textures[]`."""

    source: Index | None = None


class TextureTransform(_Part, frozen=True):
    """`KHR_texture_transform`."""

    offset: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    tex_coord: Index | None = None


class TextureInfoExtensions(_Part, frozen=True):
    """Extensions of a texture reference."""

    texture_transform: TextureTransform | None = msgspec.field(default=None, name="KHR_texture_transform")


class TextureInfo(_Part, frozen=True):
    """A material's reference to a texture."""

    index: Index
    tex_coord: Annotated[int, Meta(ge=0, le=7)] = 0
    extensions: TextureInfoExtensions = TextureInfoExtensions()


class MetallicRoughness(_Part, frozen=True):
    """`materials[].pbrMetallicRoughness`; its metallic-roughness texture is not drawn."""

    base_color_factor: Vec4 = (1.0, 1.0, 1.0, 1.0)
    base_color_texture: TextureInfo | None = None
    metallic_factor: Share = 1.0
    roughness_factor: Share = 1.0


class MaterialJson(_Part, frozen=True):
    """`materials[]`."""

    pbr_metallic_roughness: MetallicRoughness = MetallicRoughness()
    emissive_factor: tuple[Share, Share, Share] = (0.0, 0.0, 0.0)
    alpha_mode: str = "OPAQUE"
    alpha_cutoff: float = 0.5
    double_sided: bool = False


class Primitive(_Part, frozen=True):
    """`meshes[].primitives[]`; mode 4 triangles, 5 strip, 6 fan."""

    attributes: dict[str, Index]
    indices: Index | None = None
    material: Index | None = None
    mode: Annotated[int, Meta(ge=0, le=6)] = 4


class MeshJson(_Part, frozen=True):
    """`meshes[]`."""

    primitives: list[Primitive]


class Extras(_Part, frozen=True):
    """`extras` of nodes and scenes: only the key `farstage` is ours. See `place_extras`."""

    farstage: msgspec.Raw = _NOTHING


class NodeJson(_Part, frozen=True):
    """`nodes[]`. `extras` is kept raw: it may be anything."""

    children: list[Index] = []
    mesh: Index | None = None
    skin: Index | None = None
    matrix: Annotated[list[float], Meta(min_length=16, max_length=16)] | None = None
    translation: Vec3 = (0.0, 0.0, 0.0)
    rotation: Vec4 = (0.0, 0.0, 0.0, 1.0)
    scale: Vec3 = (1.0, 1.0, 1.0)
    extras: msgspec.Raw = _NOTHING
    name: str = ""


class Skin(_Part, frozen=True):
    """`skins[]`."""

    joints: list[Index]
    inverse_bind_matrices: Index | None = None


class SceneJson(_Part, frozen=True):
    """`scenes[]`."""

    nodes: list[Index] = []
    extras: msgspec.Raw = _NOTHING


class DocumentJson(_Part, frozen=True):
    """The root object."""

    asset: Asset
    scene: Index = 0
    scenes: list[SceneJson] = []
    nodes: list[NodeJson] = []
    meshes: list[MeshJson] = []
    materials: list[MaterialJson] = []
    textures: list[Texture] = []
    images: list[Image] = []
    skins: list[Skin] = []
    accessors: list[Accessor] = []
    buffer_views: list[BufferView] = []
    buffers: list[Buffer] = []
    extensions_required: list[str] = []


class Document:
    """An opened glTF file: `json`, and `view_bytes` for what lies in buffers. All methods raise `SceneError`."""

    def __init__(self, path: Path, limits: SceneLimits) -> None:
        self.path = path
        self.limits = limits
        self._bytes_read = 0
        raw = self._read(path)
        text, self._binary = self._split_glb(raw) if raw[:4] == _GLB_MAGIC else (memoryview(raw), None)
        self.json = self._decode(text)
        self._buffers: dict[int, memoryview] = {}

    def fault(self, what: str) -> SceneError:
        """The error to raise for a fault in this file."""
        return SceneError(f"{self.path.name}: {what}")

    def view_bytes(self, index: int) -> memoryview:
        """The bytes of buffer view `index`."""
        views = self.json.buffer_views
        if index >= len(views):
            raise self.fault(f"buffer view {index} does not exist (there are {len(views)})")
        view = views[index]
        data = self._buffer(view.buffer)
        end = view.byte_offset + view.byte_length
        if end > len(data):
            raise self.fault(f"buffer view {index} ends at byte {end}, its buffer at {len(data)}")
        return data[view.byte_offset : end]

    def uri_bytes(self, uri: str) -> memoryview:
        """What a `data:` URI or a relative path names."""
        if uri.startswith("data:"):
            return self._data_uri(uri)
        if "://" in uri or uri.startswith("//"):
            raise self.fault(f"{uri[:80]!r} is not a relative path; scenes load nothing from a network")
        folder = self.path.parent.resolve()
        try:
            target = (folder / unquote(uri)).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise self.fault(f"{uri[:80]!r} is not a path: {error}") from error
        if not target.is_relative_to(folder):
            raise self.fault(f"{uri[:80]!r} lies outside the folder of the scene")
        return memoryview(self._read(target))

    def _read(self, path: Path) -> bytes:
        try:
            size = path.stat().st_size
            self._bytes_read += size
            if self._bytes_read > self.limits.max_file_bytes:
                raise self.fault(f"holds {self._bytes_read} bytes, the limit is {self.limits.max_file_bytes}")
            return path.read_bytes()
        except (OSError, ValueError) as error:
            raise self.fault(f"{path.name[:80]!r} cannot be read: {error}") from error

    def _split_glb(self, raw: bytes) -> tuple[memoryview, memoryview | None]:
        if len(raw) < 20:
            raise self.fault("the binary header is cut off")
        version, length = struct.unpack_from("<II", raw, 4)
        if version != 2:
            raise self.fault(f"binary version {version}; only 2 is supported")
        if length > len(raw):
            raise self.fault(f"is cut off: the header promises {length} bytes, the file has {len(raw)}")
        chunks: dict[int, memoryview] = {}
        offset = 12
        while offset + 8 <= length:
            size, kind = struct.unpack_from("<II", raw, offset)
            if offset + 8 + size > length:
                raise self.fault(f"the chunk at byte {offset} is cut off")
            chunks.setdefault(kind, memoryview(raw)[offset + 8 : offset + 8 + size])
            offset += 8 + size
        if _CHUNK_JSON not in chunks:
            raise self.fault("has no JSON chunk")
        return chunks[_CHUNK_JSON], chunks.get(_CHUNK_BINARY)

    def _decode(self, text: memoryview) -> DocumentJson:
        try:
            document = msgspec.json.decode(str(text, "utf-8"), type=DocumentJson)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self.fault(f"is not valid glTF: {error}") from error
        if not document.asset.version.startswith("2."):
            raise self.fault(f"glTF version {document.asset.version[:20]!r}; only 2.x is supported")
        unsupported = sorted(set(document.extensions_required) - SUPPORTED_EXTENSIONS)
        if unsupported:
            raise self.fault(f"requires the extension {unsupported[0][:80]!r}, which is not supported")
        return document

    def _buffer(self, index: int) -> memoryview:
        if index not in self._buffers:
            self._buffers[index] = self._load_buffer(index)
        return self._buffers[index]

    def _load_buffer(self, index: int) -> memoryview:
        if index >= len(self.json.buffers):
            raise self.fault(f"buffer {index} does not exist (there are {len(self.json.buffers)})")
        buffer = self.json.buffers[index]
        data = self.uri_bytes(buffer.uri) if buffer.uri is not None else self._binary
        if data is None:
            raise self.fault(f"buffer {index} has neither a uri nor a binary chunk")
        if len(data) < buffer.byte_length:
            raise self.fault(f"buffer {index} has {len(data)} bytes of the {buffer.byte_length} it promises")
        return data[: buffer.byte_length]

    def _data_uri(self, uri: str) -> memoryview:
        head, comma, body = uri.partition(",")
        if not comma or not head.endswith(";base64"):
            raise self.fault("a data URI is not base64")
        try:
            return memoryview(base64.b64decode(body, validate=True))
        except (binascii.Error, ValueError) as error:
            raise self.fault(f"a data URI is broken: {error}") from error
