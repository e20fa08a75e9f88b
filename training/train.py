"""``python -m training.train --config train.yaml`` trains a model; the same file serves torchrun and Ray jobs.

    python -m training.train --config train.yaml                              one process
    torchrun --nproc-per-node 8 -m training.train --config train.yaml         many, on one node or more
    ray job submit … -- python -m training.train --config train.yaml --workers 8:64     Ray Train, elastic

The same command goes on where a killed training stopped.
"""

if __name__ == "__main__":
    from funnel.train import train_main

    train_main()
