"""The microcontroller's side of the serial protocol; see README.md beside this file."""
