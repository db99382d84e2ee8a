"""An interface for programs, with a page."""

from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse, ORJSONResponse
from fastapi.templating import Jinja2Templates
from pydantic_settings import BaseSettings

HERE = Path(__file__).parent


class Settings(BaseSettings):
    kitchen_title: str = "Kitchen"
    routers: list[str] = ["dishes", "people", "files"]


settings = Settings()


@asynccontextmanager
async def lifespan(app):
    from .store import fill

    fill()
    yield


app = FastAPI(title=settings.kitchen_title, lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=500)
app.add_middleware(CORSMiddleware, allow_origins=["https://larder.example"])
templates = Jinja2Templates(HERE / "templates")
for name in settings.routers:
    app.include_router(import_module(f"kitchen.routers.{name}").router, prefix=f"/{name}", tags=[name])


@app.get("/", response_class=HTMLResponse)
async def home(request: Request):
    return templates.TemplateResponse(request, "home.html", {"title": settings.kitchen_title})


@app.get("/fast", response_class=ORJSONResponse)
async def fast():
    return ORJSONResponse({"dish": "gratin", "price": 4.5})


@app.websocket("/talk")
async def talk(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text.upper())


@app.get("/boom")
async def boom():
    raise RuntimeError("the oven is on fire")


@app.exception_handler(RuntimeError)
async def fire(request, error):
    from fastapi.responses import PlainTextResponse

    return PlainTextResponse(f"fire: {error}", status_code=503)


async def token(request: Request):
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind != "Bearer":
        raise HTTPException(401, "no token", {"WWW-Authenticate": "Bearer"})
    from jose import JWTError, jwt

    try:
        return jwt.decode(value, "salt", algorithms=["HS256"])
    except JWTError as error:
        raise HTTPException(403, str(error)) from None


@app.post("/login")
async def login(name: str):
    from jose import jwt

    return {"token": jwt.encode({"sub": name}, "salt", algorithm="HS256")}


@app.get("/me")
async def me(claims=Depends(token)):
    return claims
