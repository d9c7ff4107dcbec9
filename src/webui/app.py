"""Where the playbook starts the dashboard from: uvicorn src.webui.app:app."""

from peak_trade.runs.overview.dashboard import configured_app

app = configured_app()
