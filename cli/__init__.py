"""What the commands share, and the commands themselves: settings, run folders, display, wiring."""
