"""``python -m curation.cli``: the same command where the console script is not installed (``ray job submit``)."""

from curation.cli.main import main

if __name__ == "__main__":
    main()
