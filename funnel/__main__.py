"""``python -m funnel`` is the same command as ``funnel``, for where the console script is not installed."""

import sys
from pathlib import Path


def look_here_last() -> None:
    """Let Python look into the current folder last, unless our own code lies there.

    ``-m`` puts that folder first, so a ``runner/`` or ``weights/`` of somebody else's would be taken for ours.
    """
    here, ours = Path.cwd(), Path(__file__).resolve().parent.parent
    if sys.path[0] not in ("", str(here)) or here == ours:
        return  # -P and PYTHONSAFEPATH leave the folder out
    sys.path.append(sys.path.pop(0))
    if str(ours) not in sys.path:  # installed in place: then no folder of the path leads to our code
        sys.path.insert(-1, str(ours))


if __name__ == "__main__":
    look_here_last()
    from funnel.main import main

    main()
