"""zoo: a plugin-based PyTorch model zoo.

    import zoo_core as zoo

    zoo.list_models("*cnn*")
    zoo.run("horses-inception", epochs=1)

This is the one public door; the names behind it are in `__init__.pyi`. Each is loaded when it is first used: importing
the door costs next to nothing, and only what needs torch imports it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
