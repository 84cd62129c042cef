"""Every family of networks, exported and compared with PyTorch: `python -m tests.export.families`.

Weights are random, and the temperature is such that some probabilities are near 1. For each network: seconds
to export, megabytes, the largest probability change in batches of 1, 7 and 64, and whether an image gets the
same bits in each of them. `make families` runs it.
"""

import argparse
import hashlib
import time
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from schemas.shared.manifest import Color, ImageForm
from schemas.vision.network import Airbench, ChosenNetwork, Cnn, NetworkName, ResNet, Timm, Torchvision
from schemas.vision.transforms import Normalize, ToTensor
from stages.export.onnx_bytes import check_contents
from stages.export.onnx_file import build_onnx
from stages.export.program import Program
from stages.shared.errors import InputError
from stages.vision.networks import build_network
from tests.vision.documents import CALIBRATION, make_checkpoint

OURS: dict[NetworkName, Any] = {
    "cnn": Cnn(channels=(16, 32, 64), kernel_size=3, dropout=0.2),
    "resnet": ResNet(widths=(32, 64, 128), blocks_per_stage=2, stem_stride=1),
    "airbench": Airbench(
        widths=(64, 128, 128),
        whitening_images=100,
        whitening_epsilon=0.0005,
        whitening_bias=True,
        bias_lr_factor=64.0,
        batchnorm_momentum=0.4,
        logit_divisor=9.0,
    ),
}
TORCHVISION = (
    "mobilenet_v3_small",
    "convnext_tiny",
    "vit_b_32",
    "efficientnet_b0",
    "swin_t",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "squeezenet1_1",
    "resnet18",
    "alexnet",
    "vgg11_bn",
    "googlenet",
    "densenet121",
)
TIMM = (
    "vit_tiny_patch16_224",
    "convnext_atto",
    "mobilenetv4_conv_small",
    "efficientnet_lite0",
    "mixer_s32_224",
    "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224",
    "levit_128s",
    "repvgg_a0",
    "ghostnet_100",
    "pvt_v2_b0",
    "edgenext_xx_small",
    "xcit_nano_12_p16_224",
)
SIDE_PX = {"googlenet": 96, "levit_128s": 224, "swin_tiny_patch4_window7_224": 224}


def list_networks() -> Iterator[tuple[ChosenNetwork, ImageForm]]:
    """Yield each network with the images it takes, grayscale ones every third time."""
    choices: list[tuple[NetworkName, str, Any]] = [
        *((name, name, arguments) for name, arguments in OURS.items()),
        *(("torchvision", model, Torchvision(model=model, weights=None)) for model in TORCHVISION),
        *(("timm", model, Timm(model=model, weights=None)) for model in TIMM),
    ]
    for number, (name, model, arguments) in enumerate(choices):
        side_px = SIDE_PX.get(model, 32 if name == model else 64)
        color: Color = "grayscale" if number % 3 == 0 else "rgb"
        yield (
            ChosenNetwork(name=name, arguments=arguments),
            ImageForm(color=color, height_px=side_px, width_px=side_px, resize="squish"),
        )


@torch.inference_mode()
def compare(network: ChosenNetwork, image: ImageForm) -> str:
    """Export a network with random weights and say how it compares."""
    import onnxruntime

    torch.manual_seed(0)
    built = build_network(network, image=image, num_classes=10).eval()
    shape = (image.height_px, image.width_px, image.num_channels)
    pixels = np.random.default_rng(0).integers(0, 256, (64, *shape), dtype=np.uint8)
    # Smooth ones, for noise looks all the same to a network.
    pixels = (pixels[:, :1, :1] * 0.7 + pixels * 0.3).astype(np.uint8)
    pixels[:, : shape[0] // 2] = pixels[::-1, : shape[0] // 2]
    channels = image.num_channels
    changes: dict[str, Any] = {
        "network": network,
        "image": image,
        "classes": tuple(map(str, range(10))),
        "preprocessing": (
            ToTensor(name="ToTensor"),
            Normalize(name="Normalize", mean=(0.5,) * channels, std=(0.25,) * channels),
        ),
    }
    checkpoint = make_checkpoint({}, **changes)
    images = torch.from_numpy(pixels)
    logits = built(Program(checkpoint, built).preprocessing(images.permute(0, 3, 1, 2).float()))
    temperature = max(1e-6, float(logits.std(dim=0).mean()) / 3)
    calibration = CALIBRATION.model_copy(update={"temperature": temperature})
    program = Program(make_checkpoint({}, **changes, calibration=calibration), built).eval()
    started = time.perf_counter()
    data = build_onnx(program, images[:2])
    check_contents(data)
    seconds = time.perf_counter() - started
    reference, *features = (output.numpy() for output in program(images))
    session = onnxruntime.InferenceSession(data)
    outputs = {}
    for size in (1, 7, 64):
        parts = [session.run(None, {"images": pixels[start : start + size]}) for start in range(0, 64, size)]
        outputs[size] = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    changes_by_size = [float(np.abs(values[0] - reference).max()) for values in outputs.values()]
    same = all(
        np.array_equal(one, other)
        for size in (7, 64)
        for one, other in zip(outputs[1], outputs[size], strict=True)
    )
    change, of_features = max(changes_by_size), "no features"
    if features:
        # Of what they vary by from image to image: a network with random weights may predict one class only.
        spread = features[0].std(axis=0).mean()
        off = max(float(np.abs(values[1] - features[0]).max()) for values in outputs.values())
        of_features = f"{features[0].shape[1]} features, off by {off / spread:.0e}"
        if spread < 1e-6 * np.abs(features[0]).mean():
            of_features = f"{features[0].shape[1]} features, the same for all images, off by {off:.0e}"
    num_predicted = len(set(reference.argmax(axis=1).tolist()))
    return (
        f"{seconds:5.1f} s  {len(data) / 2**20:6.1f} MiB  change {change:.0e}  {of_features}  "
        f"{'same bits' if same else 'bits vary'}  {num_predicted} classes, {reference.max():.2f}  "
        f"{hashlib.sha256(data).hexdigest()[:8]}"
    )


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(prog="python -m tests.export.families")
    parser.add_argument("--only", default="", help="part of a model's name")
    parser.add_argument("--trace", action="store_true", help="show tracebacks")
    arguments = parser.parse_args()
    for network, image in list_networks():
        name = f"{network.name} {getattr(network.arguments, 'model', '')}"
        if arguments.only not in name:
            continue
        try:
            result = compare(network, image)
        except InputError as error:
            result = f"REFUSED: {error}"
        except Exception as error:
            if arguments.trace:
                traceback.print_exc()
            result = f"FAILED: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        print(f"{name:45} {image.height_px:3} px {image.num_channels}  {result}", flush=True)


if __name__ == "__main__":
    main()
