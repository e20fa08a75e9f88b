"""This package is the annotation page: a small local web server, and the hand-written page that it serves
(``static/``).
"""
