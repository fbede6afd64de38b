"""Meshes, materials, textures and instances of a glTF document, as the renderer's `Geometry`."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from render_farm.scene.gltf_accessors import accessor_count, read_floats, read_integers
from render_farm.scene.gltf_document import Document, Image, MaterialJson, Primitive, Skin, TextureInfo
from render_farm.scene.gltf_nodes import PlacedNode
from render_farm.scene.model import Geometry, Material, Mesh, SceneError

_STRIP, _FAN, _FIRST_SURFACE_MODE = 5, 6, 4
_MAX_COORDINATE = 1e7


class GeometryBuilder:
    """Collects a document's geometry node by node; one use. All methods raise `SceneError`."""

    def __init__(self, document: Document, placed: Sequence[PlacedNode]) -> None:
        self._document = document
        self._world = {entry.index: entry.transform for entry in placed}
        self._meshes: list[Mesh] = []
        self._shared: dict[int, range] = {}
        self._textures: list[NDArray[np.uint8]] = []
        self._texture_of_image: dict[int, int] = {}
        self._materials = [self._material(material) for material in document.json.materials]
        self._instances: list[tuple[int, NDArray[np.float64]]] = []
        self._vertices = 0
        self._indices = 0

    def add(self, entry: PlacedNode) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Add what a node draws; its bounding box in the world (low, high), or `None` without triangles."""
        if entry.node.mesh is None:
            return None
        skinned = entry.node.skin is not None
        transform = np.eye(4) if skinned else entry.transform
        meshes = self._mesh(entry.node.mesh, entry.node.skin)
        self._instances.extend((mesh, transform) for mesh in meshes)
        if len(self._instances) > self._document.limits.max_nodes:
            raise self._document.fault(f"draws more than {self._document.limits.max_nodes} primitives")
        corners = [_world_box(self._meshes[mesh].positions, transform) for mesh in meshes]
        if not corners:
            return None
        return np.min([low for low, _ in corners], axis=0), np.max([high for _, high in corners], axis=0)

    def build(self) -> Geometry:
        """What was added."""
        transforms = np.array([transform for _, transform in self._instances], np.float32).reshape(-1, 4, 4)
        return Geometry(
            meshes=tuple(self._meshes),
            materials=(*self._materials, Material()),
            textures=tuple(self._textures),
            instance_mesh=np.array([mesh for mesh, _ in self._instances], np.uint32),
            instance_transform=transforms,
        )

    def _mesh(self, index: int, skin: int | None) -> range:
        if skin is None and index in self._shared:
            return self._shared[index]
        meshes = self._document.json.meshes
        if index >= len(meshes):
            raise self._document.fault(f"mesh {index} does not exist (there are {len(meshes)})")
        first = len(self._meshes)
        for primitive in meshes[index].primitives:
            self._add_primitive(primitive, skin)
        made = range(first, len(self._meshes))
        if skin is None:
            self._shared[index] = made
        return made

    def _add_primitive(self, primitive: Primitive, skin: int | None) -> None:
        if primitive.mode < _FIRST_SURFACE_MODE:
            return
        positions, indices = self._triangles(primitive)
        if not len(indices):
            return
        uvs = self._uvs(primitive, len(positions))
        normals = self._normals(primitive, len(positions))
        if skin is not None:
            positions, normals = self._posed(primitive, skin, positions, normals)
        if normals is None:
            positions, uvs, indices = positions[indices], uvs[indices], np.arange(len(indices), dtype=np.uint32)
            normals = flat_normals(positions)
        self._meshes.append(
            Mesh(positions, _unit(normals), uvs, indices, self._material_index(primitive)),
        )

    def _triangles(self, primitive: Primitive) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
        position = primitive.attributes.get("POSITION")
        if position is None:
            raise self._document.fault("a primitive has no POSITION")
        count = accessor_count(self._document, position)
        wanted = count if primitive.indices is None else accessor_count(self._document, primitive.indices)
        self._count(count, wanted)
        positions = read_floats(self._document, position, 3)
        if len(positions) and float(np.abs(positions).max()) > _MAX_COORDINATE:
            raise self._document.fault(f"a position lies further out than {_MAX_COORDINATE:g} m")
        if primitive.indices is None:
            order = np.arange(len(positions), dtype=np.uint32)
        else:
            order = read_integers(self._document, primitive.indices, 1)[:, 0]
        if len(order) and int(order.max()) >= len(positions):
            raise self._document.fault(f"an index is {int(order.max())}, the mesh has {len(positions)} vertices")
        return positions, _as_triangle_list(order, primitive.mode)

    def _count(self, vertices: int, indices: int) -> None:
        limits = self._document.limits
        self._vertices += vertices
        self._indices += indices
        if self._vertices > limits.max_vertices:
            raise self._document.fault(f"has more than {limits.max_vertices} vertices")
        if self._indices > limits.max_indices:
            raise self._document.fault(f"has more than {limits.max_indices} indices")
        if len(self._meshes) >= limits.max_primitives:
            raise self._document.fault(f"has more than {limits.max_primitives} primitives")

    def _attribute(self, primitive: Primitive, name: str, width: int, count: int) -> NDArray[np.float32] | None:
        index = primitive.attributes.get(name)
        if index is None:
            return None
        values = read_floats(self._document, index, width)
        if len(values) != count:
            raise self._document.fault(f"{name} has {len(values)} elements, POSITION has {count}")
        return values

    def _normals(self, primitive: Primitive, count: int) -> NDArray[np.float32] | None:
        return self._attribute(primitive, "NORMAL", 3, count)

    def _uvs(self, primitive: Primitive, count: int) -> NDArray[np.float32]:
        info = self._texture_info(primitive)
        channel = 0 if info is None else info.tex_coord
        transform = None if info is None else info.extensions.texture_transform
        if transform is not None and transform.tex_coord is not None:
            channel = transform.tex_coord
        uvs = self._attribute(primitive, f"TEXCOORD_{channel}", 2, count)
        if uvs is None:
            return np.zeros((count, 2), np.float32)
        if transform is None:
            return uvs
        cosine, sine = np.cos(transform.rotation), np.sin(transform.rotation)
        matrix = np.array([[cosine, sine], [-sine, cosine]]) * np.array(transform.scale)
        moved: NDArray[np.float32] = (uvs @ matrix.T + np.array(transform.offset)).astype(np.float32)
        if not np.isfinite(moved).all():
            raise self._document.fault("a texture transform is not finite")
        return moved

    def _posed(
        self,
        primitive: Primitive,
        skin_index: int,
        positions: NDArray[np.float32],
        normals: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        joints = primitive.attributes.get("JOINTS_0")
        weights = self._attribute(primitive, "WEIGHTS_0", 4, len(positions))
        if joints is None or weights is None:
            raise self._document.fault("a skinned primitive has no JOINTS_0 or no WEIGHTS_0")
        matrices = self._joint_matrices(skin_index)
        which = read_integers(self._document, joints, 4)
        if len(which) != len(positions) or int(which.max(initial=0)) >= len(matrices):
            raise self._document.fault(f"JOINTS_0 does not fit skin {skin_index} with {len(matrices)} joints")
        blend = np.einsum("nj,njkl->nkl", weights, matrices[which])
        moved = np.einsum("nkl,nl->nk", blend[:, :3, :3], positions) + blend[:, :3, 3]
        turned = None if normals is None else np.einsum("nkl,nl->nk", blend[:, :3, :3], normals).astype(np.float32)
        if not (np.abs(moved) < _MAX_COORDINATE).all():
            raise self._document.fault(f"skin {skin_index} moves a vertex out of proportion")
        return moved.astype(np.float32), turned

    def _joint_matrices(self, index: int) -> NDArray[np.float32]:
        skins = self._document.json.skins
        if index >= len(skins):
            raise self._document.fault(f"skin {index} does not exist (there are {len(skins)})")
        skin = skins[index]
        missing = [joint for joint in skin.joints if joint not in self._world]
        if missing or not skin.joints:
            raise self._document.fault(f"skin {index} has no joints, or joints outside the scene")
        world = np.array([self._world[joint] for joint in skin.joints])
        return (world @ self._inverse_bind(skin)).astype(np.float32)

    def _inverse_bind(self, skin: Skin) -> NDArray[np.float64]:
        if skin.inverse_bind_matrices is None:
            return np.broadcast_to(np.eye(4), (len(skin.joints), 4, 4))
        flat = read_floats(self._document, skin.inverse_bind_matrices, 16)
        if len(flat) < len(skin.joints):
            raise self._document.fault(f"a skin has {len(skin.joints)} joints but {len(flat)} inverse bind matrices")
        if not (np.abs(flat) < _MAX_COORDINATE).all():
            raise self._document.fault("an inverse bind matrix is out of proportion")
        return flat[: len(skin.joints)].reshape(-1, 4, 4).transpose(0, 2, 1).astype(np.float64)

    def _material_index(self, primitive: Primitive) -> int:
        if primitive.material is None:
            return len(self._materials)
        if primitive.material >= len(self._materials):
            raise self._document.fault(f"material {primitive.material} does not exist")
        return primitive.material

    def _texture_info(self, primitive: Primitive) -> TextureInfo | None:
        if primitive.material is None:
            return None
        index = self._material_index(primitive)
        return self._document.json.materials[index].pbr_metallic_roughness.base_color_texture

    def _material(self, material: MaterialJson) -> Material:
        pbr = material.pbr_metallic_roughness
        color = pbr.base_color_factor
        if not all(0.0 <= channel <= 1.0 for channel in color):
            raise self._document.fault(f"a base colour factor lies outside 0 to 1: {color}")
        masked = material.alpha_mode == "MASK"
        return Material(
            base_color=color,
            texture=None if pbr.base_color_texture is None else self._texture(pbr.base_color_texture.index),
            double_sided=material.double_sided,
            alpha_cutoff=min(1.0, max(0.0, material.alpha_cutoff)) if masked else None,
            metallic=pbr.metallic_factor,
            roughness=pbr.roughness_factor,
            emissive=material.emissive_factor,
        )

    def _texture(self, index: int) -> int | None:
        textures, images = self._document.json.textures, self._document.json.images
        if index >= len(textures):
            raise self._document.fault(f"texture {index} does not exist (there are {len(textures)})")
        source = textures[index].source
        if source is None:
            return None
        if source >= len(images):
            raise self._document.fault(f"image {source} does not exist (there are {len(images)})")
        if source not in self._texture_of_image:
            self._texture_of_image[source] = len(self._textures)
            self._textures.append(self._decode_image(source, images[source]))
        return self._texture_of_image[source]

    def _decode_image(self, index: int, image: Image) -> NDArray[np.uint8]:
        if image.uri is not None:
            data = self._document.uri_bytes(image.uri)
        elif image.buffer_view is not None:
            data = self._document.view_bytes(image.buffer_view)
        else:
            raise self._document.fault(f"image {index} has neither a uri nor a buffer view")
        try:
            with PillowImage.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
                self._check_pixels(index, opened.width * opened.height)
                return np.array(opened.convert("RGBA"), np.uint8)
        except SceneError:
            raise
        except Exception as error:  # Pillow's decoders raise nearly any type for a corrupt image
            raise self._document.fault(f"image {index} is not a readable PNG or JPEG: {error}") from error

    def _check_pixels(self, index: int, pixels: int) -> None:
        held = sum(texture.shape[0] * texture.shape[1] for texture in self._textures)
        if held + pixels > self._document.limits.max_texture_pixels:
            limit = self._document.limits.max_texture_pixels
            raise self._document.fault(f"image {index} brings the textures above {limit} pixels")


def flat_normals(positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """One normal per triangle for an unindexed triangle list, float32 (3t, 3)."""
    corners = positions.reshape(-1, 3, 3)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.repeat(_unit(faces), 3, axis=0)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        units = vectors / np.where(lengths > 1e-20, lengths, 1.0)
    units[lengths[:, 0] <= 1e-20] = (0.0, 1.0, 0.0)
    return units.astype(np.float32)


def _as_triangle_list(order: NDArray[np.uint32], mode: int) -> NDArray[np.uint32]:
    if mode == _STRIP:
        count = max(0, len(order) - 2)
        rows = np.arange(count)[:, None] + np.array([0, 1, 2])
        rows[1::2] = rows[1::2][:, [1, 0, 2]]
        return order[rows].reshape(-1) if count else order[:0]
    if mode == _FAN:
        count = max(0, len(order) - 2)
        rows = np.arange(count)[:, None] + np.array([1, 2, 0])
        rows[:, 2] = 0
        return order[rows].reshape(-1) if count else order[:0]
    return order[: len(order) // 3 * 3]


def _world_box(
    positions: NDArray[np.float32], transform: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low, high = positions.min(axis=0), positions.max(axis=0)
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    moved = (corners @ transform[:3, :3].T + transform[:3, 3]).astype(np.float32)
    return moved.min(axis=0), moved.max(axis=0)
