"""``python -m funnel``: the same command where the console script is not installed (``ray job submit``)."""

from funnel.main import main

if __name__ == "__main__":
    main()
