"""FaceXFormer (Narayan et al., 2024): Swin-B and a decoder with a token per task; its 68 landmarks.

Restated from the paper; the modules are called as in ``Kartik-3004/facexformer`` (MIT), so that its
``model.pt`` loads as it is. Its parsing is not read: nowhere in its public code are the eleven classes named.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..adapter import Adapter
from ..checkpoint import State, fill
from .swin import SwinB
from .tokens import Mlp, TokenDecoder, TokenNet

__all__ = ["FaceXFormerLandmarks", "network"]

_TOKENS = {
    "landmarks_token": 1,
    "pose_token": 1,
    "attribute_token": 1,
    "visibility_token": 1,
    "age_token": 1,
    "gender_token": 1,
    "race_token": 1,
    "mask_tokens": 11,
}
_OTHER_HEADS = ("pose", "attribute", "visibility", "age", "gender", "race")


def network(adapter: Adapter, state: State) -> nn.Module:
    """The net with its head of landmarks.

    Raises:
        AdapterError: The parameters are not its.
    """
    return fill(
        FaceXFormerLandmarks(), state, tuple(f"face_decoder.{h}_prediction_head." for h in _OTHER_HEADS)
    )


class FaceXFormerLandmarks(TokenNet):
    """RGB [N, 3, H, W], normalised as for ImageNet, to [N, 136]: 68 times x, y, -1 to 1 between the edges."""

    def __init__(self) -> None:
        super().__init__(SwinB(), _LandmarkDecoder(_TOKENS))


class _LandmarkDecoder(TokenDecoder):
    def __init__(self, tokens: dict[str, int]) -> None:
        super().__init__(tokens)
        self.landmarks_prediction_head = Mlp(2 * 68)

    def forward(self, fused: Tensor, positions: Tensor) -> Tensor:
        tokens, _ = self.read(fused, positions)
        return self.landmarks_prediction_head(tokens[:, 0])
