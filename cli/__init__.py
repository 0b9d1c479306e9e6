"""The command `revgn`: one command, one file. Heavy imports stay inside the commands."""
