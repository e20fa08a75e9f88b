"""Tests of stages/captions."""
