"""SegFace (Narayan et al., 2024), CelebAMask-HQ: a token per class reads the fused maps of a backbone.

Restated from the paper; the modules are called as in ``Kartik-3004/SegFace`` (MIT), so that its
``model_299.pt`` of ConvNeXt, EfficientNet, MobileNet, Swin or Swin V2 loads as it is. Its ResNet has no
forward pass in the public code, and the names of LaPa's and Helen's tokens were not found in public.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..adapter import Adapter, AdapterError
from ..checkpoint import State, fill
from .convnets import ConvNextB, EfficientNetV2M, MobileNetV3
from .swin import SwinB, SwinV2B
from .tokens import TokenDecoder, TokenNet

__all__ = ["SegFace", "network"]

# In the order of the channels. Which side of the face a name means is the adapter's to say.
_TOKENS = (
    *("background", "neck", "face", "cloth", "rightear", "leftear", "rightbro", "leftbro", "righteye"),
    *("lefteye", "nose", "innermouth", "lowerlip", "upperlip", "hair", "glass", "hat", "earring", "necklace"),
)
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
        AdapterError: The backbone is none that is known here, or the parameters are not the net's.
    """
    backbone = next((make for name, make in _BACKBONES if name in state), None)
    if backbone is None:
        raise AdapterError(
            "its backbone is no ConvNeXt-B, EfficientNetV2-M, MobileNetV3, Swin-B or Swin V2-B"
        )
    return fill(SegFace(backbone()), state)


class SegFace(TokenNet):
    """RGB [N, 3, H, W], normalised as for ImageNet, to logits [N, 19, H, W]; sides: multiples of 32."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone, _ClassDecoder({f"{name}_token": 1 for name in _TOKENS}))


class _ClassDecoder(TokenDecoder):
    def forward(self, fused: Tensor, positions: Tensor) -> Tensor:
        return self.class_maps(*self.read(fused, positions))
