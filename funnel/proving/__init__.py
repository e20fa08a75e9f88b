"""This folder measures what a model has learnt against known truth, for ``funnel prove``.

``mouth.py`` reads the opening of a mouth from pixels, ``loop.py`` gives generated videos back to the funnel,
``figures.py`` holds figures against bars, ``sheet.py`` leaves something to look at; ``chain.py``, ``speaking.py`` and
``proof.py`` are the proof itself.
"""
