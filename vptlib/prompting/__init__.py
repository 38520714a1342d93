"""The heart: how learned vectors enter a frozen vision transformer, exactly and cheaply."""
