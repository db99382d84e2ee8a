from fastapi import APIRouter
from pydantic import BaseModel, EmailStr

router = APIRouter()


class Person(BaseModel):
    address: EmailStr
    word: str


@router.post("/")
def add(person: Person):
    import bcrypt

    return {
        "address": person.address,
        "safe": bcrypt.checkpw(person.word.encode(), bcrypt.hashpw(person.word.encode(), bcrypt.gensalt(4))),
    }


@router.get("/cookie")
def cookie():
    from itsdangerous import URLSafeTimedSerializer

    kept = URLSafeTimedSerializer("salt")
    return kept.loads(kept.dumps({"dish": "leek"}))


@router.get("/yaml")
def yaml():
    import yaml

    return yaml.safe_load("{leek: [1, 2]}")
