"""Where the playbook imports the configuration from."""

from peak_trade.settings import load_config

__all__ = ["load_config"]
