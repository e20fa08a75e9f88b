from tests.support.scripted_web import cache_folder, models, server

__all__ = ["cache_folder", "models", "server"]
