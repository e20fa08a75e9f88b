"""This package runs SyncNet (Chung & Zisserman, 2016): its inputs, the network, and how its distances are read.

It is our own code that loads the published ``syncnet_v2.model``; the caller hands in the path of the weights. No
columns, no policy: those belong to stages/sync.py.
"""
