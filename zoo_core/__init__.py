"""zoo: a plugin-based PyTorch model zoo.

    import zoo_core as zoo

    zoo.list_models("*cnn*")
    zoo.run("horses-inception", epochs=1)

The public names are listed in `__init__.pyi`. Each is imported on first use, so `import zoo_core` is fast, and torch is
only imported by what needs it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
