"""`python -m zoo_core` is `zoo`: also under `torchrun -m zoo_core`, nothing is imported from the current folder."""

import sys
from pathlib import Path


def run() -> None:
    """Run the command line."""
    if not sys.flags.safe_path and sys.path[:1] in ([""], [str(Path.cwd())]):
        del sys.path[0]  # `-m` puts the current folder first: any folder of data could then provide plugins
    from zoo_core.cli import main  # after that

    main()


run()
