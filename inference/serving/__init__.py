"""This package is `funnel serve`: talking portraits over HTTP, and the small page (``page/``) that asks for them.

``options.py`` says what a client may ask for, ``upload.py`` reads it as it comes, ``records.py`` keeps jobs in a
folder, ``jobs.py`` makes them one after the other with a ``generator.py``, ``app.py`` answers requests,
``request_check.py`` decides who may send them, ``openapi.py`` describes it all, and ``run.py`` starts it: alone, or as
a Ray Serve deployment.
"""
