"""`revgn completion`: what a shell needs to complete revgn's commands and options."""

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that has SHELL complete commands, options and choices.

    \b
    revgn completion bash >> ~/.bashrc
    revgn completion zsh >> ~/.zshrc
    revgn completion fish > ~/.config/fish/completions/revgn.fish
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    assert found is not None  # click has all three
    click.echo(found(root, {}, "revgn", "_REVGN_COMPLETE").source())
