"""Pure: values in, values out. No clock, no network, no client library."""
