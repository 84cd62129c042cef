"""The `network` section: which network, its architecture, and its pretrained weights."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from schemas.shared.fields import Fraction, Items, Meaning, OneLine, PlainPath, Positive, Schema, WholeNumber

NO_WEIGHTS_FILE = "data/weights/none"
"""An empty file that stands for no weights: a dependency in dvc.yaml must exist."""

Width = Annotated[int, Field(ge=1, le=4096)]


class Architecture(Schema):
    """The parameters of one network."""

    halved_by: ClassVar[str] = ""
    """The key of a list each of whose items halves the image; empty where the smallest image is unknown."""

    takes_any_size: ClassVar[bool] = True
    """Whether images may differ in size between training and validation, as far as is known in advance."""

    @property
    def min_side_px(self) -> int:
        """Return the shorter side of the smallest images it takes, as far as the parameters tell."""
        return 1


class Cnn(Architecture):
    """Plain convolutional network: blocks of Conv2d, ReLU and max pooling, then one linear layer."""

    halved_by = "channels"
    takes_any_size = False  # its linear layer has a weight for every remaining pixel

    channels: Annotated[Items[Width], Field(min_length=1, max_length=12)]
    """Output channels of each block; every block halves height and width."""

    kernel_size: Annotated[Literal[1, 3, 5, 7, 9, 11], WholeNumber]
    """Side of the convolution kernels in pixels; odd, so that padding keeps height and width."""

    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Fraction of the flattened features dropped before the linear layer, in training only."""

    @property
    def min_side_px(self) -> int:
        """Return the side that the blocks reduce to one pixel."""
        return int(2 ** len(self.channels))


class ResNet(Architecture):
    """Small residual network for images of 28 to 96 px (arXiv:1512.03385, section 4.2)."""

    halved_by = "widths"

    widths: Annotated[Items[Width], Field(min_length=1, max_length=8)]
    """Channels of each stage; every stage but the first halves height and width."""

    blocks_per_stage: Annotated[int, Field(ge=1, le=64)]
    """Residual blocks in each stage, of two convolutions each."""

    stem_stride: Annotated[Literal[1, 2], WholeNumber]
    """Stride of the first convolution; 2 halves height and width, which suits images of 64 px and more."""

    @property
    def min_side_px(self) -> int:
        """Return the side that the stages reduce to one pixel."""
        return int(self.stem_stride * 2 ** (len(self.widths) - 1))


class Airbench(Architecture):
    """Network that reaches 94 % on CIFAR-10 with few operations (Jordan 2024, arXiv:2404.00498)."""

    halved_by = "widths"

    widths: Annotated[Items[Width], Field(min_length=1, max_length=8)]
    """Channels of each block of two convolutions; every block halves height and width."""

    whitening_images: Annotated[int, Field(ge=1, le=10**6)]
    """Random training images (by training.seed) whose 2 x 2 patches the whitening layer is fitted to."""

    whitening_epsilon: Annotated[Positive, Field(le=1000)]
    """Added to the patches' variances, so that whitening does not amplify directions of hardly any."""

    whitening_bias: bool
    """Whether the whitening layer learns biases; without them a step is about a tenth faster."""

    bias_lr_factor: Annotated[float, Field(gt=0, le=10**6)]
    """Factor on the learning rate of batch-norm biases under sgd; its square root under adam and the like."""

    batchnorm_momentum: Fraction
    """Weight of each batch in the running mean and variance."""

    logit_divisor: Annotated[float, Field(gt=0, le=1000)]
    """The logits are divided by it."""

    @property
    def min_side_px(self) -> int:
        """Return the side that the layers reduce to one pixel; whitening shortens it by one."""
        return int(2 ** len(self.widths)) + 1


ModelName = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_]+$"),
    Meaning("the name of a model: letters, digits and _, without the name of its weights"),
]
WeightsName = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$"),
    Meaning("the name of pretrained weights: letters, digits, _, - and ."),
]


class Torchvision(Architecture):
    """A classification model of torchvision.models."""

    model: ModelName
    """Its name there, such as resnet18."""

    weights: WeightsName | None
    """Pretrained weights by torchvision's name, such as IMAGENET1K_V1, downloaded once; null: random."""


class Timm(Architecture):
    """A model of timm, an optional library: pip install timm."""

    model: Annotated[
        str,
        Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_.-]+)?$"),
        Meaning("the name of a model: letters, digits and _, then perhaps a dot and the tag of its weights"),
    ]
    """Its name there, such as resnet18; resnet18.a1_in1k names its weights as well."""

    weights: WeightsName | None
    """Pretrained weights by timm's tag, such as a1_in1k, downloaded once; null: random."""

    @model_validator(mode="before")
    @classmethod
    def _split_full_name(cls, values: Any) -> Any:
        """Take timm's full name apart, as in resnet18.a1_in1k."""
        if not isinstance(values, dict) or "weights" not in values:
            return values
        model, _, tag = str(values.get("model")).partition(".")
        if not tag or not isinstance(values["model"], str):
            return values
        if values["weights"] not in (None, tag):
            raise ValueError(f"allowed: one tag; found {tag} in model, and {values['weights']} in weights")
        return {**values, "model": model, "weights": tag}


NetworkName = Literal["cnn", "resnet", "airbench", "torchvision", "timm"]
AnyArchitecture = Cnn | ResNet | Airbench | Torchvision | Timm


class Network(Schema):
    """The parameters of every network; `name` selects one."""

    name: NetworkName
    """Which network is trained; the block of that name holds its parameters."""

    weights_file: Annotated[
        str,
        Field(min_length=1, max_length=4096),
        Meaning("the path of a file of weights, or data/weights/none"),
        OneLine,
        PlainPath,
    ]
    """Pretrained weights: a file of torch.save or safetensors, of any suffix; data/weights/none: random."""

    cnn: Cnn
    resnet: ResNet
    airbench: Airbench
    torchvision: Torchvision
    timm: Timm

    def chosen(self) -> "ChosenNetwork":
        """Return the selected network, without the parameters of the others."""
        return ChosenNetwork(name=self.name, arguments=getattr(self, self.name))


class ChosenNetwork(Schema):
    """One network and its own parameters, as a checkpoint keeps them."""

    name: NetworkName
    arguments: AnyArchitecture

    @field_validator("arguments", mode="before")
    @classmethod
    def _match_name(cls, arguments: Any, info: ValidationInfo) -> Any:
        """Validate against the schema of `name`: two networks may have parameters of the same names."""
        name = info.data.get("name")
        if isinstance(arguments, Schema) or name is None:
            return arguments
        return Network.model_fields[name].annotation.model_validate(arguments)  # type: ignore[union-attr]
