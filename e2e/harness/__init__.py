"""What the demo and the end-to-end tests share: kubectl, traffic, installation, objects."""
