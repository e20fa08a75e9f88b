from tests.support.scripted_web import cache_folder, models, server
from tests.support.useless_pool import pool

__all__ = ["cache_folder", "models", "pool", "server"]
