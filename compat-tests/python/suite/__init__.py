"""What every Python-driven client must do against a broker; the clients themselves are adapters in `clients/`."""
