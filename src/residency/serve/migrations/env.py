"""Alembic's entry: the connection that `residency.serve.store` opened in, the missing steps applied to it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
