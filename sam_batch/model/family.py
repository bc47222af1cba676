"""What a family of models tells the rest of the package, in one place.

A family is models that share an architecture: Segment Anything's three sizes and the demo are one. It declares their
names, published weights and sides, recognises its tensors, builds its modules and arranges them, for torch and for
compilers of graphs. The configuration reads names from here, so neither this nor a family's declaration imports torch
before a method needs it. Which families there are says `model.families`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from sam_batch.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Color: TypeAlias = tuple[float, float, float]
Features: TypeAlias = "tuple[Tensor, ...]"  # an encoder's feature maps, each with the images first
PromptEncoder: TypeAlias = "Callable[[PromptParts], Tensor]"
Positions: TypeAlias = Literal["written", "tiled", "folded"]  # see `engine.onnx.graph_set.GraphSet`


@dataclass(frozen=True, slots=True)
class Model:
    """One model that is known by name.

    Attributes:
        name: As `model.name` of the configuration has it.
        image_side: S, the side of the square model input in pixels.
        signature: What `Family.signature` makes of its tensors.
        sha256: Of the file of weights that was published, hexadecimal.
        source: Where that file is: a URL, or a path in this package.
    """

    name: str
    image_side: int
    signature: tuple[int, ...]
    sha256: str
    source: str

    @property
    def view_bytes(self) -> int:
        """Of the largest view that it is shown, as RGB."""
        return 3 * self.image_side**2


@dataclass(frozen=True, slots=True)
class Traits:
    """What callers of a model must know of its modules.

    Attributes:
        image_side: S, in pixels.
        mask_side: h = w, the side of the low-resolution logits.
        pixel_mean: Per RGB channel, in the 0 to 255 range.
        pixel_std: Likewise.
        mask_threshold: Logits above it are mask.
    """

    image_side: int
    mask_side: int
    pixel_mean: Color
    pixel_std: Color
    mask_threshold: float


class PromptParts(Protocol):
    """P prompts for one view; `engine.protocol.Prompts` says what the parts are. They may be on the CPU."""

    @property
    def points(self) -> "Tensor | None": ...  # noqa: D102
    @property
    def labels(self) -> "Tensor | None": ...  # noqa: D102
    @property
    def boxes(self) -> "Tensor | None": ...  # noqa: D102
    @property
    def masks(self) -> "Tensor | None": ...  # noqa: D102
    @property
    def multimask(self) -> bool: ...  # noqa: D102
    def __len__(self) -> int: ...


class TorchModel(Protocol):
    """A model's modules, arranged to run on one device and in one precision. `engine.torch_engine` calls them."""

    @property
    def device(self) -> "torch.device":
        """With its number, where there are several."""
        ...

    def embed(self, images_N3SS: "Tensor") -> Features:
        """Run the image encoder on N normalised and padded images."""
        ...

    def score(self, features: Features, prompts: PromptParts) -> "tuple[Tensor, Any]":
        """Predict the IoUs (P, M) of P prompts for one image; the second value is what `finish` needs."""
        ...

    def finish(self, state: Any, index_K2: "Tensor") -> "Tensor":
        """(K, h, w) logits of the chosen (prompt, mask) pairs, in their order; the pairs are on the CPU."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A part of a model as a module that exports to a clean ONNX graph.

    Attributes:
        build: Makes the module, which shares weights where it can.
        inputs: By name, in the order of the module's arguments: shape and type. A size that is a word, `images` or
            `prompts`, is free; it comes first.
        outputs: Their names, in order.
        scratch_bytes: Device memory that a compiled engine needs beside them while it runs, for each image or prompt at
            once: at most about so much.
    """

    build: "Callable[[], nn.Module]"
    inputs: "Mapping[str, tuple[tuple[int | str, ...], torch.dtype]]"
    outputs: tuple[str, ...]
    scratch_bytes: int


class Family(ABC):
    """Models that share an architecture; subclass it in a folder of `model/`, and name it in `model.families`.

    Attributes:
        name: Of the family, for messages.
        models: Those that are known by name.
    """

    name: ClassVar[str]
    models: ClassVar[tuple[Model, ...]]

    @abstractmethod
    def translate(self, state: "Mapping[str, Tensor]") -> "Mapping[str, Tensor] | None":
        """Tensors under the family's own names, whichever of its known names they have; None if they are not its."""

    @abstractmethod
    def signature(self, state: "Mapping[str, Tensor]") -> tuple[int, ...]:
        """Numbers that tell the family's models apart, from tensors under its own names."""

    @abstractmethod
    def describe(self, signature: tuple[int, ...]) -> str:
        """A signature in words, for whoever gave weights of none of its models."""

    @abstractmethod
    def build(self, name: str) -> "nn.Module":
        """The modules of one of its models, with the weights that they are initialised with."""

    @abstractmethod
    def traits(self, module: "nn.Module") -> Traits:
        """What callers must know of these modules."""

    @abstractmethod
    def arrange(self, module: "nn.Module", precision: str, device: str) -> TorchModel:
        """Take modules over, to run them.

        Args:
            module: float32, in eval mode; it is moved to the device, and its weights lowered to the precision.
            precision: fp32, bf16 or fp16.
            device: cpu, cuda or cuda:<index>.
        """

    def graphs(
        self, module: "nn.Module", precision: str, *, attention: bool, positions: Positions, max_tokens: int | None
    ) -> dict[str, Graph]:
        """The model as graphs, by the names that `engine.onnx.graph_set` knows.

        Args:
            module: float32, on the CPU, in eval mode; not changed.
            precision: fp32 or fp16.
            attention: Leave attention to ONNX's operator of that name where the encoder can.
            positions: How attention over the whole image takes relative positions, where it has some.
            max_tokens: Also the graph for prompts of any parts, of up to so many tokens each; None for none.

        Raises:
            ConfigError: The family has none.
        """
        raise ConfigError(f"engine.kind: there are no TensorRT engines of {self.name} models; set engine.kind=torch")

    def prompt_encoder(self, module: "nn.Module", device: "torch.device") -> PromptEncoder:
        """What makes (P, T, C) float32 tokens of points and boxes, for the graph `score`.

        Raises:
            ConfigError: The family has no graphs.
        """
        raise ConfigError(f"engine.kind: there are no TensorRT engines of {self.name} models; set engine.kind=torch")
