"""The pure half: journal entries in, commands out. No I/O, no clock, no threads."""
