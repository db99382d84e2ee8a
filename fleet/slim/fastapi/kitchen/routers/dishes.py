from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, HTTPException, Query
from pydantic import BaseModel, Field, field_validator

from .. import store

router = APIRouter()


class Dish(BaseModel):
    name: str = Field(max_length=40)
    price: Decimal = Field(gt=0, decimal_places=2)
    day: date | None = None

    @field_validator("name")
    @classmethod
    def plain(cls, value):
        if not value.isprintable():
            raise ValueError("it cannot be printed")
        return value


@router.get("/")
def every(most: Annotated[float | None, Query(ge=0)] = None):
    return [{"name": dish.name, "price": dish.price} for dish in store.dishes(most)]


@router.post("/", status_code=201)
def add(dish: Dish, tasks: BackgroundTasks):
    from sqlalchemy.exc import IntegrityError

    try:
        store.add(dish.name, float(dish.price))
    except IntegrityError as error:
        raise HTTPException(409, str(error.orig)) from None
    tasks.add_task(note, dish.name)
    return dish


def note(name):
    with open("/tmp/notes", "a") as file:  # noqa: PTH123
        file.write(f"{name}\n")
