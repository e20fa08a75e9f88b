"""Lip sync: face tracks, the two ways of comparing a mouth with a sound, and the lag curves that both give.

Pure numpy (and torch for Light-ASD) on frames and samples; the path of any weights is handed in.
No columns, no policy, no choice between the methods: those belong to stages/sync.py.
"""
