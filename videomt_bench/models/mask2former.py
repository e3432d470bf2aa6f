"""Mask2Former (Cheng et al., CVPR 2022), the segmenter of MinVIS, CAVIS and DVIS++: on a ViT with
ViT-Adapter, or on an encoder that has maps at four strides by itself."""

from __future__ import annotations

from torch import Tensor

from videomt_bench.models.adapter import ViTAdapter
from videomt_bench.models.contracts import FrameFeatures, FrameOutput, FrameSegmenter
from videomt_bench.models.encoders import build_encoder, is_pyramid
from videomt_bench.models.masked_decoder import MaskedDecoder
from videomt_bench.models.pixel_decoder import PixelDecoder
from videomt_bench.models.pyramids import STRIDES, PyramidEncoder, build_pyramid
from videomt_bench.models.variant import DecoderSizes, ModelSpec

MASK_FEATURES = "mask_features"
SCALES = ("res5", "res4", "res3")
"""Names of the maps that the decoder looks at, from coarse on."""


class Mask2Former(FrameSegmenter):
    """Encoder with maps at four strides, pixel decoder and masked decoder.

    Masked attention belongs to the architecture: it is not annealed, and evaluation has it too.

    Args:
        backbone: frames -> four maps at strides 4, 8, 16 and 32. It is called ``adapter`` here if
            it is one, and ``encoder`` if it needs none.
        num_queries: Q.
        num_classes: C, without no-object.
        sizes: those of the two decoders.
    """

    def __init__(
        self,
        backbone: ViTAdapter | PyramidEncoder,
        num_queries: int,
        num_classes: int,
        sizes: DecoderSizes,
    ) -> None:
        super().__init__()
        self.dim = sizes.dim
        self.num_classes = num_classes
        if isinstance(backbone, ViTAdapter):
            # the adapter's maps start at stride 4 and its grids halve twice
            self.stride = max(8, backbone.encoder.patch_size)
            self.adapter = backbone
        else:
            self.stride = STRIDES[0]
            self.encoder = backbone
        self.pixel_decoder = PixelDecoder(backbone.dims, sizes)
        self.decoder = MaskedDecoder(num_queries, num_classes, sizes)

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> Mask2Former:
        """Build from a model specification; the name of the encoder says what it needs.

        A ViT with pre-trained weights is frozen, as in the published systems, where the adapter
        learns beside it. One that starts from random weights learns: frozen, it would be a random
        projection for ever. A pyramid always learns, all but its batch norms.
        """
        sizes = spec.sizes
        if is_pyramid(spec.encoder.name):
            return cls(build_pyramid(spec.encoder), spec.num_queries, spec.num_classes, sizes)
        encoder = build_encoder(spec.encoder)
        adapter = ViTAdapter(encoder, prior=sizes.prior, frozen=spec.encoder.weights is not None)
        return cls(adapter, spec.num_queries, spec.num_classes, sizes)

    @property
    def backbone(self) -> ViTAdapter | PyramidEncoder:
        """Frames (N, 3, H, W) -> maps at strides 4, 8, 16 and 32."""
        return self.adapter if hasattr(self, "adapter") else self.encoder

    def encode(self, frames: Tensor) -> FrameFeatures:
        mask_features, maps = self.pixel_decoder(self.backbone(frames))
        named = {MASK_FEATURES: mask_features, **dict(zip(SCALES, maps, strict=True))}
        return FrameFeatures(named, (frames.shape[-2], frames.shape[-1]))

    def decode(
        self, features: FrameFeatures, queries: Tensor, slots: Tensor | None = None
    ) -> FrameOutput:
        mask_features = features.maps[MASK_FEATURES]
        maps = [features.maps[name] for name in SCALES]
        decoded = self.decoder(queries, mask_features, maps, slots)
        return FrameOutput(
            decoded.prediction.class_logits,
            decoded.prediction.mask_logits,
            queries=decoded.queries,
            embeddings=decoded.embeddings,
            intermediate=decoded.intermediate,
            mask_features=mask_features,
        )
