import click
from flask.cli import AppGroup

kitchen = AppGroup("kitchen", help="What cooks do.")


@kitchen.command()
@click.option("--upper", is_flag=True)
@click.argument("words", nargs=-1)
def say(upper, words):
    """Say it."""
    text = " ".join(words)
    click.secho(text.upper() if upper else text, fg="green")


@kitchen.command()
def table():
    """All dishes, in a table."""
    from tabulate import tabulate

    from .views import DISHES

    click.echo(tabulate(DISHES.items(), headers=["dish", "price"], tablefmt="github"))


@kitchen.command()
def serve_mail():
    """A mail, as text."""
    from email.message import EmailMessage

    mail = EmailMessage()
    mail["Subject"] = "Crème"
    mail.set_content("brûlée")
    click.echo(mail.as_string())
