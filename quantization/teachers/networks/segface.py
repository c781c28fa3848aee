"""SegFace (Narayan et al., 2024), CelebAMask-HQ and LaPa: a token per class reads a backbone's fused maps.

Restated from the paper; the modules are called as in ``Kartik-3004/SegFace`` (MIT), so that its
``model_299.pt`` of ConvNeXt, EfficientNet, MobileNet, Swin or Swin V2 loads as it is. Its ResNet has no
forward pass in the public code, and the names of Helen's tokens were not found in public.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..adapter import Adapter, AdapterError
from ..checkpoint import State, fill
from .convnets import ConvNextB, EfficientNetV2M, MobileNetV3
from .swin import SwinB, SwinV2B
from .tokens import TokenDecoder, TokenNet

__all__ = ["SegFace", "network"]

# By the scheme that it learned, in the order of the channels. Which side of the face a name means is the
# adapter's to say.
_TOKENS = {
    "celebamask19": (
        *("background", "neck", "face", "cloth", "rightear", "leftear", "rightbro", "leftbro", "righteye"),
        *("lefteye", "nose", "innermouth", "lowerlip", "upperlip", "hair", "glass", "hat", "earring"),
        "necklace",
    ),
    "lapa11": (
        *("background", "face", "leftbro", "rightbro", "lefteye", "righteye", "nose", "upperlip"),
        *("innermouth", "lowerlip", "hair"),
    ),
}
# A parameter that a backbone alone has; the first that fits is taken.
_BACKBONES = (
    ("backbone.0.1.0.attn.logit_scale", SwinV2B),
    ("backbone.0.1.0.attn.qkv.weight", SwinB),
    ("backbone.0.1.0.layer_scale", ConvNextB),
    ("backbone.8.0.weight", EfficientNetV2M),
    ("backbone.16.0.weight", MobileNetV3),
)


def network(adapter: Adapter, state: State) -> nn.Module:
    """The net with the backbone that the checkpoint's names tell.

    Raises:
        AdapterError: The backbone or the scheme is none that is known here, or the parameters are not the
            net's.
    """
    scheme = adapter.output.scheme
    if scheme not in _TOKENS:
        raise AdapterError(f"its classes are those of {' or '.join(_TOKENS)}, and the adapter says {scheme}")
    backbone = next((make for name, make in _BACKBONES if name in state), None)
    if backbone is None:
        raise AdapterError(
            "its backbone is no ConvNeXt-B, EfficientNetV2-M, MobileNetV3, Swin-B or Swin V2-B"
        )
    return fill(SegFace(backbone(), scheme), state)


class SegFace(TokenNet):
    """RGB [N, 3, H, W], normalised as for ImageNet, to logits [N, C, H, W]; sides: multiples of 32.

    ``scheme``: one of ``celebamask19`` and ``lapa11``, whose classes are the C channels.
    """

    def __init__(self, backbone: nn.Module, scheme: str = "celebamask19") -> None:
        super().__init__(backbone, _ClassDecoder({f"{name}_token": 1 for name in _TOKENS[scheme]}))


class _ClassDecoder(TokenDecoder):
    def forward(self, fused: Tensor, positions: Tensor) -> Tensor:
        return self.class_maps(*self.read(fused, positions))
