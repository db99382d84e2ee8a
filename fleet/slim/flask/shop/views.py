from flask import Blueprint, Response, abort, flash, redirect, render_template, request, session, url_for
from flask_babel import format_currency, format_date, gettext
from werkzeug.utils import import_string

pages = Blueprint("pages", __name__)
DISHES = {"gratin": 4.5, "soup": 3.0, "crème": 6.25}


@pages.route("/")
def home():
    return render_template("home.html", dishes=DISHES)


@pages.route("/dish/<name>")
def dish(name):
    from datetime import date

    if name not in DISHES:
        abort(404)
    return render_template(
        "dish.html",
        name=name,
        price=format_currency(DISHES[name], "EUR"),
        day=format_date(date(2024, 7, 14), "full"),
    )


@pages.route("/export/<kind>")
def export(kind):
    write = import_string(f"shop.exporters.{kind}:write", silent=True)
    if write is None:
        abort(404)
    body, mime = write(DISHES)
    return Response(body, mimetype=mime)


@pages.route("/basket", methods=["GET", "POST"])
def basket():
    if request.method == "POST":
        session.setdefault("basket", []).append(request.form["dish"])
        session.modified = True
        flash(gettext("Added %(dish)s", dish=request.form["dish"]))
        return redirect(url_for("pages.basket"))
    return render_template("basket.html", basket=session.get("basket", []))


@pages.route("/markdown", methods=["POST"])
def markdown():
    import markdown

    return markdown.markdown(request.get_data(as_text=True), extensions=["extra", "codehilite", "toc"])


@pages.route("/yaml", methods=["POST"])
def yaml():
    import yaml

    return yaml.safe_load(request.data)


@pages.route("/token")
def token():
    import jwt

    made = jwt.encode({"dish": "leek"}, "salt and pepper and salt and pepper", algorithm="HS256")
    return jwt.decode(made, "salt and pepper and salt and pepper", algorithms=["HS256"])


@pages.route("/secret")
def secret():
    from cryptography.fernet import Fernet

    key = Fernet(Fernet.generate_key())
    return key.decrypt(key.encrypt(b"leek"))


@pages.route("/stream")
def stream():
    from itertools import count, islice

    return Response((f"{number}\n" for number in islice(count(), 5)), mimetype="text/plain")


@pages.route("/boom")
def boom():
    return 1 / 0
