"""From entry points and registry files to one frozen Registry."""
