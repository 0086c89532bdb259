"""The model FashionCNN, and the dataset Fashion-MNIST that it is trained on."""

from __future__ import annotations

from zoo_core import DatasetCard, Edition, File, ImageInput, ModelCard, ReportedAccuracy, WeightsCard, hookimpl

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
ORIGIN = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"


SAMPLE = Edition(
    name="sample",
    summary="the first 600 training and 100 test images of each class; shipped with this package",
    files={
        "train-images": File.shipped(
            "zoo_fashion_cnn/data/train-images.gz",
            2_615_845,
            "8cdd6eb3db9f71d038db812672f156fd89a164a94f767144b5586d415d3cfa4f",
        ),
        "train-labels": File.shipped(
            "zoo_fashion_cnn/data/train-labels.gz",
            3_078,
            "ad10c5b63cc571a1b1e3466e319c5712cf94438f98643f47a64c2239b56ea625",
        ),
        "test-images": File.shipped(
            "zoo_fashion_cnn/data/test-images.gz",
            436_247,
            "1d883f3966f98d7fc5011e0ff22f6e190d3b994ad0583bfd53c4b120eb39f754",
        ),
        "test-labels": File.shipped(
            "zoo_fashion_cnn/data/test-labels.gz",
            519,
            "4f81dd80fbbee90c38545ee999e120b1c191bf127f0aa516f21ef7e023d316a9",
        ),
    },
    examples={"train": 6_000, "test": 1_000},
)

FULL = Edition(
    name="full",
    summary="all 70,000 images; a download of 31 MB",
    files={
        "train-images": File.download(
            f"{ORIGIN}/train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "zoo_core:gunzip",
            content_size=47_040_016,
            content_sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        "train-labels": File.download(
            f"{ORIGIN}/train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "zoo_core:gunzip",
            content_size=60_008,
            content_sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        "test-images": File.download(
            f"{ORIGIN}/t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "zoo_core:gunzip",
            content_size=7_840_016,
            content_sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        "test-labels": File.download(
            f"{ORIGIN}/t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "zoo_core:gunzip",
            content_size=10_008,
            content_sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    },
    examples={"train": 60_000, "test": 10_000},
)

TRAINED = WeightsCard(
    name="fashion-mnist",
    covers="all",
    file=File.shipped(
        "zoo_fashion_cnn/data/fashion-mnist.safetensors",
        1_336_224,
        "77ebd275c12c7634affa16aaa5abf53c55bccd811996a4e23a2a91964b606982",
    ),
    license="Apache-2.0",
    provenance="zoo run fashion-cnn-full (seed 0); zoo export RUN FILE",
    reported=(
        ReportedAccuracy(dataset="fashion-mnist", edition="sample", split="test", n=1_000, accuracy=0.928),
        ReportedAccuracy(dataset="fashion-mnist", edition="full", split="test", n=10_000, accuracy=0.9219),
    ),
)


FASHION_NET = WeightsCard(
    name="fashion-mnist",
    covers="all",
    file=File.shipped(
        "zoo_fashion_cnn/data/fashion-net.safetensors",
        647_124,
        "27fdebec4f21b42fb215ed912e9147ef2f123dfeac12ff5f82eaf1b5604ab85f",
    ),
    license="Apache-2.0",
    provenance="zoo run fashion-net (seed 0); zoo export RUN FILE --dtype float16",
    reported=(
        ReportedAccuracy(dataset="fashion-mnist", edition="sample", split="test", n=1_000, accuracy=0.952),
        ReportedAccuracy(dataset="fashion-mnist", edition="full", split="test", n=10_000, accuracy=0.945),
    ),
)

# the mean and standard deviation of all training pixels, in [0, 1]; the notebook gives none
PIXELS = ImageInput(size=28, channels=1, mean=(0.2860,), std=(0.3530,))


@hookimpl
def zoo_models() -> list[ModelCard]:
    """Return the notebook's model, and a more accurate one that is not larger."""
    return [
        ModelCard(
            name="fashion-cnn",
            summary="Two convolutions and two linear layers for 28 × 28 grayscale images of clothes",
            license="Apache-2.0",
            source='the tutorial notebook "Convolutional Neural Network Parameters Breakdown", class FashionCNN',
            builder="zoo_fashion_cnn.model:FashionCNN",
            input=PIXELS,
            num_classes=10,
            classes=CLASSES,
            head="fc2",
            parameters=333_898,
            weights=(TRAINED,),
        ),
        ModelCard(
            name="fashion-net",
            summary="Eight 3 × 3 convolutions with BatchNorm and two residual blocks, for the same images",
            license="Apache-2.0",
            source="zoo; residual blocks as in https://arxiv.org/abs/1512.03385",
            builder="zoo_fashion_cnn.fashion_net:FashionNet",
            input=PIXELS,
            num_classes=10,
            classes=CLASSES,
            head="fc",
            parameters=320_122,
            weights=(FASHION_NET,),
        ),
    ]


@hookimpl
def zoo_datasets() -> list[DatasetCard]:
    """Return the dataset."""
    return [
        DatasetCard(
            name="fashion-mnist",
            summary="Zalando's article images: 28 × 28 grayscale images in ten classes of clothes",
            license="MIT",
            attribution="Fashion-MNIST by Han Xiao, Kashif Rasul and Roland Vollgraf, Zalando SE, MIT",
            source="https://arxiv.org/abs/1708.07747",
            classes=CLASSES,
            editions=(SAMPLE, FULL),
            loader="zoo_fashion_cnn.data:load",
        )
    ]
