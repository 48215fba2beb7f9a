"""The subcommands, one file each. They parse, call, and print; importing them imports nothing heavy."""
