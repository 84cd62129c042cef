"""Grad-CAM: right where it can be computed another way, refused where it means nothing."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from schemas.shared.manifest import ImageForm
from stages.evaluate.gradcam import GradCamUnavailable, compute_heatmaps
from stages.vision.networks import build_network
from tests.vision.documents import TINY_CNN


class Pooled(nn.Module):
    """Convolutions, the mean over all places, one linear layer: for these Grad-CAM is CAM."""

    def __init__(self, *, in_place: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, stride=2))
        self.relu = nn.ReLU(inplace=in_place)
        self.head = nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.features(images))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def make_images(number: int = 11) -> tuple[Tensor, Tensor]:
    """Return images of 9 x 13 pixels, and a class to explain for each."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(number, 3, 9, 13, generator=generator), torch.arange(number) % 4


def scale(heatmap: Tensor) -> Tensor:
    """Return maps (N, h, w) with their largest values as 1, what is below 0 as 0."""
    heatmap = heatmap.clamp(min=0)
    return heatmap / heatmap.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)


@pytest.mark.parametrize("in_place", [False, True])
def test_of_pooled_features_it_is_cam(in_place: bool) -> None:
    """After a global mean and a linear layer the map is the features weighted by the class's row (CAM).

    Source: Zhou et al. 2016, arXiv:1512.04150, equation 2.
    """
    torch.manual_seed(0)
    network = Pooled(in_place=in_place)
    images, predicted = make_images()
    heatmaps = compute_heatmaps(network, images, predicted)
    features = F.relu(network.features(images))
    expected = scale(torch.einsum("nk,nkhw->nhw", network.head.weight[predicted], features)).detach()
    assert heatmaps[0].shape == (4, 6)
    torch.testing.assert_close(torch.stack([torch.from_numpy(heatmap) for heatmap in heatmaps]), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    """For a network without pooling the weights are mean gradients, here measured by moving the features."""
    torch.manual_seed(0)
    body, head = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(4 * 7 * 11, 4))
    network = nn.Sequential(body, nn.ReLU(), nn.Dropout(0.5), head).double()
    images, predicted = make_images(3)
    images = images.double()
    heatmaps = compute_heatmaps(network, images, predicted)
    features = F.relu(body(images)).detach()
    weights = torch.empty(3, 4, dtype=torch.float64)
    for channel in range(4):
        logits = []
        for moved in (1e-6, -1e-6):
            changed = features.clone()
            changed[:, channel] += moved
            logits.append(head(changed).gather(1, predicted[:, None]).squeeze(1))
        weights[:, channel] = (logits[0] - logits[1]).detach() / 2e-6 / (7 * 11)
    expected = scale(torch.einsum("nk,nkhw->nhw", weights, features)).float()
    torch.testing.assert_close(torch.from_numpy(heatmaps[2]), expected[2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("end", "shape"),
    [
        ((nn.ReLU(), nn.MaxPool2d(2)), (9, 13)),
        ((nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)), nn.Identity()), (9, 13)),
        ((nn.MaxPool2d(2), nn.ReLU()), (4, 6)),
    ],
)
def test_pooling_at_the_end_is_skipped(end: tuple[nn.Module, ...], shape: tuple[int, int]) -> None:
    """Pooling at the end only makes the map coarser; an activation after it is used as it is."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *end, nn.Flatten(), nn.Linear(4 * 4 * 6, 4))
    heatmaps = compute_heatmaps(network, *make_images(1))
    assert heatmaps[0].shape == shape


def test_the_projects_network_is_explained() -> None:
    """Cnn needs no hint about its layers."""
    form = ImageForm(color="grayscale", height_px=16, width_px=20, resize="squish")
    network = build_network(TINY_CNN, image=form, num_classes=3)
    (heatmap,) = compute_heatmaps(network, torch.randn(1, 1, 16, 20), torch.tensor([1]))
    assert heatmap.shape[0] >= 4
    assert heatmap.shape[1] >= 5


class Shared(nn.Module):
    """One ReLU in two places, as in many residual networks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4, 4)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.second(self.relu(self.first(images))))
        logits: Tensor = self.head(self.pool(features).flatten(1))
        return logits


def test_a_module_called_twice_is_explained_at_its_last_call() -> None:
    """The map is that of the second ReLU, though it is the same module as the first."""
    torch.manual_seed(0)
    network = Shared()
    images, predicted = make_images(4)
    heatmaps = compute_heatmaps(network, images, predicted)
    features = F.relu(network.second(F.relu(network.first(images))))
    expected = scale(torch.einsum("nk,nkhw->nhw", network.head.weight[predicted], features)).detach()
    torch.testing.assert_close(torch.stack([torch.from_numpy(heatmap) for heatmap in heatmaps]), expected)


def test_torchvisions_residual_network_is_explained() -> None:
    """A network of another library needs no hint about its layers."""
    from torchvision.models import resnet18

    network = resnet18(num_classes=4)
    (heatmap,) = compute_heatmaps(network, torch.randn(1, 3, 160, 128), torch.tensor([2]))
    assert heatmap.shape == (5, 4)


class Patches(nn.Module):
    """A tiny vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 8, 3, stride=3)
        self.mix = nn.TransformerEncoderLayer(8, 2, dim_feedforward=8, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.mix(self.cut(images).flatten(2).transpose(1, 2))
        logits: Tensor = self.head(patches.mean(dim=1))
        return logits


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(351, 4)), "no feature map made by convolutions"),
        (Patches(), "attention|sequence of patches"),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3, stride=3), nn.Flatten(), nn.Linear(96, 4)),
            "only 3 × 4 positions",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 8, (9, 13)), nn.Flatten(), nn.Linear(8, 4)),
            "no feature map made by convolutions",
        ),
    ],
)
def test_other_networks_are_unavailable_with_a_reason(network: nn.Module, reason: str) -> None:
    """Without a feature map at the end there is no heatmap, and the message says why."""
    with pytest.raises(GradCamUnavailable, match=reason):
        compute_heatmaps(network, *make_images(2))


def test_no_contribution_is_an_empty_heatmap() -> None:
    """Features that only count against a class give zeros, not a division by zero."""
    network = Pooled()
    with torch.no_grad():
        network.head.weight.copy_(-network.head.weight.abs())
    heatmaps = compute_heatmaps(network, *make_images(2))
    assert all((heatmap == 0).all() for heatmap in heatmaps)


def test_same_images_same_bits() -> None:
    """A second run gives the same bits, and leaves no hook and no gradient behind."""
    torch.manual_seed(0)
    network = Pooled()
    first = compute_heatmaps(network, *make_images())
    second = compute_heatmaps(network, *make_images())
    assert [heatmap.tobytes() for heatmap in first] == [heatmap.tobytes() for heatmap in second]
    assert all(not module._forward_hooks for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())
