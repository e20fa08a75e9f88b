"""One generation on many processes: by windows (``windows``), by the sequence of a window (``sequence``), or both."""
