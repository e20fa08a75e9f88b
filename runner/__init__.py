"""This package runs work on Ray and survives the death of workers.

A pool feeds units of work to a crew of actors, and hands back the result of each. The package knows ``catalogs`` only:
whoever measures, trains or exports brings its own worker and its own units. cluster.py starts or joins Ray, pool.py
hands out units, crew.py keeps the actors, host.py runs a worker inside an actor.
"""
