"""This package lets people judge lots of clips that a stage kept or dropped, and decides whether the stage passes."""
