from fastapi import APIRouter, Form, UploadFile
from fastapi.responses import FileResponse, StreamingResponse

router = APIRouter()


@router.post("/")
async def upload(file: UploadFile, encoding: str = Form("utf-8")):
    import aiofiles

    async with aiofiles.open("/tmp/upload", "wb") as out:
        await out.write(await file.read())
    async with aiofiles.open("/tmp/upload", encoding=encoding) as back:
        return {"text": await back.read(), "type": file.content_type}


@router.get("/source")
async def source():
    return FileResponse(__file__)


@router.get("/stream")
async def stream():
    async def lines():
        for number in range(3):
            yield f"data: {number}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


@router.get("/self")
async def itself():
    import httpx

    async with httpx.AsyncClient() as client:
        answer = await client.get("http://127.0.0.1:8080/fast")
        return answer.json()
