"""Classifies pictures with an .onnx file that `zoo export` wrote; needs numpy, Pillow and onnxruntime, nothing else.

    python reader.py pets.onnx photo.jpg

`zoo export` puts a copy of this program next to the file. You may change it, and use it in your own programs.
"""

import json
import sys
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def open_model(path: str) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Return the session, and what the file says about itself: classes, input, thresholds, licenses and more."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["zoo"])


def pixels_of(image: Image.Image, fit: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Return the picture as the model takes it: (size, size, channels) uint8."""
    size, resample = fit["size"], Image.Resampling[fit["interpolation"].upper()]
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB" if fit["channels"] == 3 else "L")
    if fit["resize"] == "squash":
        image = image.resize((size, size), resample)
    elif fit["resize"] == "crop":
        shorter = int(size / fit["crop_fraction"])
        width, height = (int(shorter * side / min(image.size)) for side in image.size)
        left, top = round((width - size) / 2), round((height - size) / 2)
        image = image.resize((width, height), resample).crop((left, top, left + size, top + size))
    else:
        width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
        canvas = Image.new(image.mode, (size, size), tuple(round(255 * mean) for mean in fit["mean"]))
        canvas.paste(image.resize((width, height), resample), ((size - width) // 2, (size - height) // 2))
        image = canvas
    return np.asarray(image).reshape(size, size, fit["channels"])


def classify(
    session: onnxruntime.InferenceSession, about: dict[str, Any], image: Image.Image
) -> list[tuple[str, float]]:
    """Return the classes of a picture with their probabilities: the likeliest one, or all above their thresholds."""
    (row,) = session.run(["probabilities"], {"images": pixels_of(image, about["input"])[None]})[0].tolist()
    if "thresholds" not in about:
        return [max(zip(about["classes"], row, strict=True), key=lambda pair: pair[1])]
    scored = zip(about["classes"], row, about["thresholds"], strict=True)
    return [(name, probability) for name, probability, threshold in scored if probability >= threshold]


if __name__ == "__main__":
    model, description = open_model(sys.argv[1])
    for name in sys.argv[2:]:
        found = classify(model, description, Image.open(name))
        print(name, ", ".join(f"{label} {probability:.4f}" for label, probability in found) or "none")
