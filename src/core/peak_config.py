"""Where the playbook imports the configuration from."""

from peak_trade.settings import load_config as load_config
