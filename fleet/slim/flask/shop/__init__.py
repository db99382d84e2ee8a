"""A shop: pages by Jinja, much of it imported only when it is asked for."""

from flask import Flask, render_template, request
from flask_babel import Babel


def create_app():
    app = Flask(__name__)
    app.config.update(SECRET_KEY="salt", BABEL_TRANSLATION_DIRECTORIES="translations")
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(["en", "fr"]))

    from . import commands, views

    app.register_blueprint(views.pages)
    app.cli.add_command(commands.kitchen)

    @app.errorhandler(404)
    def nothing(error):
        return render_template("404.html", path=request.path), 404

    @app.errorhandler(Exception)
    def fire(error):
        from werkzeug.exceptions import HTTPException

        if isinstance(error, HTTPException):
            return error
        import html
        import traceback

        return render_template(
            "500.html", trace=html.escape("".join(traceback.format_exception_only(error)))
        ), 500

    return app
