"""Runs the migrations on the connection that the registry hands over, inside its transaction."""

from alembic import context

from peak_trade.journal.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
