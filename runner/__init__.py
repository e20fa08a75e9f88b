"""Work on Ray that survives deaths: a pool feeds units of work to a crew of actors, and hands back what became of each.

Knows ``catalogs`` only: who measures, trains or exports brings its own worker and its own units. cluster.py starts or
joins Ray, pool.py hands out units, crew.py keeps the actors, host.py runs a worker inside an actor."""
