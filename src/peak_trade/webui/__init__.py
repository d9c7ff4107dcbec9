"""The dashboard: pages, API and metrics over registry and journal; it reads, and may never place an order."""
