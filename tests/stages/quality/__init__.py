"""Tests of stages/quality."""
