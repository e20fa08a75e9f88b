"""SyncNet (Chung & Zisserman, 2016): the network, what it is shown and told, and how its distances are read.

Our own code that loads the published ``syncnet_v2.model``; the path of the weights is handed in.
No columns, no policy: those belong to stages/sync.py.
"""
