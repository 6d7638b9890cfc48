"""How the tables came to be as they are: alembic's steps, applied when a store is opened."""
