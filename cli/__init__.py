"""The command line `revgn`: one module per command. Heavy modules are imported inside the commands."""
